"""One pass through the network: pieces of several clips side by side in one flat row of tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vqa.models.cogvlm2.attention import Segment, Segments
from vqa.models.cogvlm2.decoder import Kinds
from vqa.models.cogvlm2.model import CogVLM2
from vqa.models.cogvlm2.prompt import Tokens


@dataclass(frozen=True, eq=False)
class Piece:
    """What one clip adds to a pass.

    positions -- one per token. pictures -- (N, 3, S, S) float32, to stand at the vision tokens.
    wanted -- the tokens whose output is asked for.
    """

    tokens: Tokens
    positions: Sequence[int]
    segment: Segment
    wanted: Sequence[int]
    pictures: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Runner:
    """A model, where its input goes, and how many pictures the tower takes at once."""

    model: CogVLM2
    device: torch.device
    pictures_at_once: int

    def run(self, pieces: Sequence[Piece]) -> Tensor:
        """Give the normalised states (n, hidden) at all wanted tokens, in order."""
        tokens = [piece.tokens for piece in pieces]
        hidden = self.model.embed(self._tensor([i for part in tokens for i in part.ids]))
        pictures = [piece.pictures for piece in pieces if piece.pictures is not None]
        if pictures:
            vision = self._tensor([v for part in tokens for v in part.vision])
            hidden[vision] = self._see(pictures).to(hidden)
        return self.model.decode(
            hidden,
            self._tensor([p for piece in pieces for p in piece.positions]),
            Segments([piece.segment for piece in pieces]),
            kinds=self._kinds(tokens) if pictures else None,
            rows=self._tensor(_wanted(pieces)),
        )

    def _see(self, pictures: Sequence[Tensor]) -> Tensor:
        """Encode the pictures of all pieces -> (tokens, hidden), in their order."""
        dtype = self.model.model.vision.patch_embedding.proj.weight.dtype
        there = torch.cat([part.to(self.device) for part in pictures]).to(dtype)
        chunks = torch.split(there, self.pictures_at_once)
        return torch.cat([self.model.see(chunk).flatten(0, 1) for chunk in chunks])

    def _kinds(self, tokens: Sequence[Tokens]) -> Kinds | None:
        """Tell vision rows from language rows, where the model has weights for each."""
        if not self.model.config.experts:
            return None
        vision = torch.zeros(sum(map(len, tokens)), dtype=torch.bool)
        start = 0
        for part in tokens:
            vision[[start + place for place in part.experts]] = True
            start += len(part)
        return Kinds(*(rows.nonzero()[:, 0].to(self.device) for rows in (vision, ~vision)))

    def _tensor(self, values: Sequence[int] | Sequence[bool]) -> Tensor:
        return torch.tensor(values, device=self.device)


def _wanted(pieces: Sequence[Piece]) -> list[int]:
    """Rows of the pass that are wanted."""
    rows, start = list[int](), 0
    for piece in pieces:
        rows += [start + place for place in piece.wanted]
        start += len(piece.tokens)
    return rows
