"""Greedy generation with a cache: for captions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

import torch
from torch import Tensor

from vqa.errors import NotFinite
from vqa.models.cogvlm2.attention import Cache, Segment
from vqa.models.cogvlm2.forward import Piece, Runner
from vqa.models.cogvlm2.prompt import Tokens


def generate(
    runner: Runner, prompt: Tokens, pictures: Tensor, *, stop: Sequence[int], limit: int
) -> list[int]:
    """Give the likeliest continuation of a prompt, up to one of `stop` or `limit` tokens.

    pictures (N, 3, S, S) float32 stand at the vision tokens of the prompt. Raises NotFinite.
    """
    found: list[int] = []
    for token in islice(_likeliest(runner, prompt, pictures), limit):
        if token in stop:
            break
        found.append(token)
    return found


def _likeliest(runner: Runner, prompt: Tokens, pictures: Tensor) -> Iterator[int]:
    """Give the likeliest next token, for ever. New tokens use language weights only."""
    cache = Cache()
    positions = prompt.positions
    tokens, seen = prompt, pictures if len(pictures) else None
    while True:
        size = len(tokens)
        segment = Segment(cache, size, (), keep=True)
        piece = Piece(tokens, positions, segment, (size - 1,), seen)
        with torch.inference_mode():
            best = runner.model.logits(runner.run([piece]))[0].max(-1)
        if not best.values.isfinite():
            raise NotFinite(
                "the network's numbers left the range of its dtype; load it with dtype='bfloat16'"
                " or 'float32'"
            )
        token = int(best.indices)
        yield token
        tokens, positions, seen = Tokens.text([token]), (positions[-1] + 1,), None
