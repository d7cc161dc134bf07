"""A vision-language model ready to be asked: pictures and questions in, logits of yes and no out.

engine = Engine.load("Qwen/Qwen2.5-VL-7B-Instruct", device="cuda")
engine.read(pictures, ["Is it day? Answer with yes or no."])
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vqa.errors import BadCheckpoint, OutOfMemory
from vqa.models.vlm.loading import load_model
from vqa.models.vlm.packing import Packer, is_out_of_memory
from vqa.models.vlm.processor import Media
from vqa.models.vlm.prompts import Encoded, Inputs, Pictures, Prompts

# Tokens of a batch of questions, the head counted for each: what keeps a big GPU busy, and what a
# CPU can hold.
GPU_TOKENS, CPU_TOKENS = 262144, 32768
# How far log P(yes) and log P(no) may lie apart between a packed and a full pass. It is rounding:
# sums in another order, and logits of about 20 that have 8 bits in bfloat16.
TOLERANCE = {torch.float32: 1e-3, torch.float16: 0.1, torch.bfloat16: 0.5}


@dataclass(frozen=True, slots=True)
class Reading:
    """What the network says to one question: log probabilities of all spellings of yes, of no."""

    logit_yes: float
    logit_no: float

    @property
    def p_yes(self) -> float:
        """Softmax over the two; NaN when the network overflowed."""
        difference = self.logit_no - self.logit_yes
        if math.isnan(difference):
            return math.nan
        return 1.0 / (1.0 + math.exp(min(difference, 700.0)))


@dataclass(eq=False)
class Engine:
    """A model, its prompts, and the ids that say yes and no.

    packs -- whether questions can share a head: None until the first clip has shown it. cuts --
    whether the prompt can be cut before the question at all. why_not -- what was found.
    """

    prompts: Prompts
    packer: Packer
    yes: list[int]
    no: list[int]
    packs: bool | None = None
    cuts: bool = True
    why_not: str = ""

    @classmethod
    def load(
        cls,
        checkpoint: str | os.PathLike[str],
        *,
        device: str = "auto",
        dtype: str = "auto",
        media: Media = "images",
        token_budget: int | None = None,
    ) -> Engine:
        """Load a folder or hub id; raises what `load_model` and `Prompts.load` raise."""
        loaded = load_model(checkpoint, device=device, dtype=dtype)
        prompts = Prompts.load(loaded.folder, loaded.model.config, media=media)
        words = loaded.model.get_output_embeddings().weight.shape[0]
        try:
            yes, no = prompts.spellings(words)
        except BadCheckpoint as error:
            raise BadCheckpoint(f"{loaded.folder}: {error}") from None
        if token_budget is None:
            token_budget = CPU_TOKENS if loaded.device.type == "cpu" else GPU_TOKENS
        return cls(prompts, Packer(loaded.model, loaded.device, token_budget), yes, no)

    @property
    def media(self) -> Media:
        """As what the frames of a clip are shown."""
        return self.prompts.media

    def read(self, pictures: Pictures, texts: Sequence[str], *, lead: str = "") -> list[Reading]:
        """Answer all questions about one clip, the pictures encoded once.

        texts -- each as it is to stand behind the pictures; `lead` is what all of them begin with,
        whichever they are. Raises OutOfMemory, BadArgument.
        """
        try:
            return [self._reading(values) for values in self._read(pictures, texts, lead)]
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            said = str(error).partition("\n")[0] or "MemoryError"
        raise OutOfMemory(
            f"one question about these {len(pictures)} pictures does not fit into the memory:"
            f" {said}; give fewer frames or a smaller max_pixels, a smaller model, or"
            " device='auto', which takes all cards"
        )

    def _read(self, pictures: Pictures, texts: Sequence[str], lead: str) -> Sequence[Tensor]:
        """Log probabilities of yes and no, (2,), for each question."""
        if not texts:
            return []
        encoded = self.prompts.encode(pictures, texts, lead=lead) if self.cuts else None
        if encoded is None:
            self._cannot("its prompt cannot be cut before the question", cuts=False)
            return [self._full(self.prompts.whole(pictures, text)) for text in texts]
        if self.packs is None and len(texts) > 1:
            return self._tried(pictures, texts, encoded)
        if self.packs and len(texts) > 1:
            return self.packer.packed(encoded, self.sides)
        return [self._full(encoded.whole(number)) for number in range(len(texts))]

    def _tried(
        self, pictures: Pictures, texts: Sequence[str], encoded: Encoded
    ) -> Sequence[Tensor]:
        """Pack for the first time, and hold the shortest and the longest against full passes."""
        order = sorted(range(len(texts)), key=lambda number: len(encoded.tails[number]))
        wholes = {n: self.prompts.whole(pictures, texts[n]) for n in (order[0], order[-1])}
        if any(not _same_ids(whole, encoded.whole(n)) for n, whole in wholes.items()):
            self._cannot("its tokens reach across the cut before the question", cuts=False)
            return [self._full(self.prompts.whole(pictures, text)) for text in texts]
        full = {number: self._full(whole) for number, whole in wholes.items()}
        found = self._attempt(encoded)
        if found is not None:
            apart = max(float((found[n] - values).abs().max()) for n, values in full.items())
            if apart <= TOLERANCE.get(self.packer.model.dtype, 0.5):
                self.packs = True
                return found
            self._cannot(f"log P(yes) or log P(no) is {apart:.2g} away from that of a full pass")
        rest = (
            self._full(encoded.whole(n)) if n not in full else full[n] for n in range(len(texts))
        )
        return list(rest)

    def _attempt(self, encoded: Encoded) -> list[Tensor] | None:
        try:
            return self.packer.packed(encoded, self.sides)
        except Exception as error:  # a model that cannot go on from a cache says so in many ways
            if is_out_of_memory(error):
                raise
            self._cannot(f"{type(error).__name__}: {error}")
        return None

    def _full(self, inputs: Inputs) -> Tensor:
        return self.sides(self.packer.full(inputs)[None])[0].cpu()

    def _cannot(self, why: str, *, cuts: bool = True) -> None:
        self.packs, self.cuts, self.why_not = False, cuts, " ".join(why.split())

    def sides(self, logits: Tensor) -> Tensor:
        """Logits (n, vocabulary) -> log P(yes), log P(no), (n, 2) float32."""
        logits = logits.float()
        sides = [logits[:, ids].logsumexp(-1) for ids in (self.yes, self.no)]
        return torch.stack(sides, dim=-1) - logits.logsumexp(-1, keepdim=True)

    def _reading(self, values: Tensor) -> Reading:
        return Reading(float(values[0]), float(values[1]))


def _same_ids(one: Inputs, other: Inputs) -> bool:
    return torch.equal(one["input_ids"], other["input_ids"])
