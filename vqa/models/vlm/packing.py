"""Passes through a model: one for each question, or the head once and the questions behind it.

The released script of VisionReward, like most users of such models, runs pictures and all for every
question. Here the head goes through once; the tails follow in batches, padded on the right, each
row seeing the head's keys and values. Attention is causal, so that padding is seen by nobody and no
mask is needed, and models count positions on from the length of the cache (Qwen's three-part ones
from what they found in the head). Where a model does otherwise, `Engine` finds out.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vqa.models.vlm.prompts import Encoded, Inputs
from vqa.models.vlm.shared import shared

# At most this part of a batch is padding; more batches cost less than that.
_PADDING = 0.2
_SIGNS = ("DefaultCPUAllocator", "could not create a primitive", "std::bad_alloc")


@dataclass(eq=False)
class Packer:
    """Runs a model; `budget` is how many tokens, heads of all rows included, are in one batch."""

    model: Any
    device: torch.device
    budget: int

    @torch.inference_mode()
    def full(self, inputs: Inputs) -> Tensor:
        """Logits (vocabulary) of the first new token, by a pass over everything."""
        logits: Tensor = self.model(**self._moved(inputs), logits_to_keep=1).logits
        return logits[0, -1]

    @torch.inference_mode()
    def packed(self, encoded: Encoded, read: Callable[[Tensor], Tensor]) -> list[Tensor]:
        """What `read` makes of the logits (n, vocabulary) of n questions, question by question.

        Raises what the model raises. Out of memory the budget is halved for good.
        """
        cache = self._head(encoded)
        found: dict[int, Tensor] = {}
        while len(found) < len(encoded.tails):
            todo = [number for number in range(len(encoded.tails)) if number not in found]
            try:
                for batch in self._batches(encoded, todo):
                    values = read(self._tails(cache, [encoded.tails[number] for number in batch]))
                    found.update(zip(batch, values.cpu(), strict=True))
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error) or self._rows(encoded, todo) == 1:
                    raise
                self.budget //= 2
        return [found[number] for number in range(len(found))]

    def _head(self, encoded: Encoded) -> Any:
        inputs = self._moved(encoded.head)
        found = self.model(**inputs, use_cache=True, logits_to_keep=1)
        _count_on(self.model, inputs)
        return found.past_key_values

    def _tails(self, cache: Any, tails: Sequence[Sequence[int]]) -> Tensor:
        """Logits (n, vocabulary) at the end of each of n tails."""
        width = max(map(len, tails))
        # The pad may be any id: nobody looks at it.
        ids = [[*tail, *[0] * (width - len(tail))] for tail in tails]
        ends = sorted({len(tail) - 1 for tail in tails})
        found = self.model(
            input_ids=torch.tensor(ids, device=self.device),
            past_key_values=shared(cache, len(tails)),
            use_cache=True,
            logits_to_keep=torch.tensor(ends, device=self.device),
        )
        logits: Tensor = found.logits
        return logits[range(len(tails)), [ends.index(len(tail) - 1) for tail in tails]]

    def _batches(self, encoded: Encoded, todo: Sequence[int]) -> Iterator[list[int]]:
        """Questions of about the same length together."""
        lengths = [len(tail) for tail in encoded.tails]
        batch: list[int] = []
        for number in sorted(todo, key=lambda number: lengths[number]):
            wider = [*batch, number]
            tokens = len(wider) * lengths[number]
            padding = 1 - sum(lengths[one] for one in wider) / tokens
            if batch and (padding > _PADDING or tokens + len(wider) * encoded.length > self.budget):
                yield batch
                wider = [number]
            batch = wider
        yield batch

    def _rows(self, encoded: Encoded, todo: Sequence[int]) -> int:
        return max(map(len, self._batches(encoded, todo)))

    def _moved(self, inputs: Inputs) -> Inputs:
        return {name: self._placed(name, value) for name, value in inputs.items()}

    def _placed(self, name: str, value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        # Only pixels take the model's dtype: seconds and sizes would lose their digits.
        dtype = self.model.dtype if name.startswith("pixel_values") else value.dtype
        return value.to(self.device, dtype)


def _count_on(model: Any, inputs: Inputs) -> None:
    """Let the positions of a tail follow that of the head's last token.

    Qwen's models keep by how much positions lag behind the number of tokens. transformers takes the
    furthest position for that, which after a film is one in time and lies beyond those of the words
    that follow it.
    """
    inner: Any = getattr(model, "model", None)
    if getattr(inner, "rope_deltas", None) is None or not hasattr(inner, "get_rope_index"):
        return
    taken = inspect.signature(inner.get_rope_index).parameters
    positions, _ = inner.get_rope_index(**{k: v for k, v in inputs.items() if k in taken})
    lag = positions[0, :, -1:] + 1 - positions.shape[-1]
    inner.rope_deltas = lag.to(inner.rope_deltas)


def is_out_of_memory(error: Exception) -> bool:
    """A GPU raises its own class; on the CPU only the text of a RuntimeError tells."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return any(sign in str(error) for sign in _SIGNS)
