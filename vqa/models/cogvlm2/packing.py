"""Many questions about many clips in few passes, each clip encoded once.

The released script runs the whole network, pictures included, once per question. Everything before
the question is the same for all of them and attention is causal, so here the head of a clip goes
through once, and its questions follow in the same pass, each seeing the head and itself only. The
result is the same up to the order of floating point sums.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from vqa.errors import OutOfMemory
from vqa.models.cogvlm2.attention import Cache, Segment
from vqa.models.cogvlm2.forward import Piece, Runner
from vqa.models.cogvlm2.model import CogVLM2
from vqa.models.cogvlm2.plan import Load, Part, plan, smallest
from vqa.models.cogvlm2.prompt import Tokens

# What torch's allocator and oneDNN say on a CPU without memory; the second also about other
# failures, which halving then does not cure and the final error tells.
_SIGNS = ("DefaultCPUAllocator", "could not create a primitive", "std::bad_alloc")

# States (n, hidden) at the last token of n questions -> (n, anything).
Readout = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Work:
    """One clip: its pictures (N, 3, S, S) float32, the head in which they stand, its questions."""

    pictures: Tensor
    head: Tokens
    tails: Sequence[Tokens]

    def load(self, questions: Sequence[int]) -> Load:
        """Its size in tokens, with only these questions."""
        return Load(len(self.head), tuple(len(self.tails[number]) for number in questions))

    def piece(
        self, questions: Sequence[int], cache: Cache, *, with_head: bool, keep: bool
    ) -> Piece:
        """What it adds to a pass: every question goes on where the head ends, as if alone."""
        tails = [self.tails[number] for number in questions]
        lengths = [len(tail) for tail in tails]
        start = len(self.head) if with_head else 0
        after = self.head.positions[-1] + 1
        places = list(self.head.positions) if with_head else []
        return Piece(
            tokens=Tokens.joined([self.head, *tails] if with_head else tails),
            positions=places + [after + step for length in lengths for step in range(length)],
            segment=Segment(cache, start, lengths, keep),
            wanted=[start + end - 1 for end in accumulate(lengths)],
            pictures=self.pictures if with_head else None,
        )


@dataclass(eq=False)
class Packer:
    """Runs work through a model, about `budget` tokens at once.

    When the device runs out of memory the budget is halved for good and the rest goes on; what was
    answered is kept. Raises OutOfMemory when a single question about a single clip does not fit;
    that says nothing about other clips, so the budget is then as before.
    """

    model: CogVLM2
    device: torch.device
    budget: int

    @property
    def runner(self) -> Runner:
        """Runs passes with as many pictures at once as the budget allows."""
        at_once = max(1, self.budget // self.model.config.vision.num_positions)
        return Runner(self.model, self.device, at_once)

    @torch.inference_mode()
    def run(self, works: Sequence[Work], readout: Readout) -> list[list[Tensor]]:
        """Give the readout of every question, clip by clip, on the CPU."""
        found: list[dict[int, Tensor]] = [{} for _ in works]
        budget = self.budget
        while True:
            todo = [_todo(work, done) for work, done in zip(works, found, strict=True)]
            loads = [work.load(numbers) for work, numbers in zip(works, todo, strict=True)]
            passes = plan(loads, self.budget)
            failed = self._try_passes(works, todo, passes, readout, found)
            if failed is None:
                return [[done[number] for number in range(len(done))] for done in found]
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            if smallest(passes) and self.runner.pictures_at_once == 1:
                self.budget = budget
                raise _does_not_fit(failed)
            self.budget = max(1, self.budget // 2)

    def _try_passes(
        self,
        works: Sequence[Work],
        todo: Sequence[Sequence[int]],
        passes: Sequence[Sequence[Part]],
        readout: Readout,
        found: Sequence[dict[int, Tensor]],
    ) -> str | None:
        """Run passes until the memory is full; then give the first line of the complaint.

        The error itself is not given back: it would hold the tensors of the pass that failed.
        """
        try:
            self._run_passes(works, todo, passes, readout, found)
        except (MemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
            return str(error).partition("\n")[0] or "MemoryError"
        return None

    def _run_passes(
        self,
        works: Sequence[Work],
        todo: Sequence[Sequence[int]],
        passes: Sequence[Sequence[Part]],
        readout: Readout,
        found: Sequence[dict[int, Tensor]],
    ) -> None:
        """Run passes; tail i of clip c in the plan stands for question `todo[c][i]`."""
        caches = [Cache() for _ in works]
        last = {part.clip: number for number, parts in enumerate(passes) for part in parts}
        for number, parts in enumerate(passes):
            asked = [[todo[part.clip][tail] for tail in part.tails] for part in parts]
            pieces = [
                works[part.clip].piece(
                    questions,
                    caches[part.clip],
                    with_head=part.with_head,
                    keep=last[part.clip] > number,
                )
                for part, questions in zip(parts, asked, strict=True)
            ]
            outputs = iter(readout(self.runner.run(pieces)).cpu())
            for part, questions in zip(parts, asked, strict=True):
                found[part.clip].update((question, next(outputs)) for question in questions)
                if last[part.clip] == number:
                    caches[part.clip].layers.clear()


def _todo(work: Work, done: dict[int, Tensor]) -> list[int]:
    return [number for number in range(len(work.tails)) if number not in done]


def _does_not_fit(complaint: str) -> OutOfMemory:
    return OutOfMemory(
        f"one question about one clip does not fit into the memory: {complaint}; give fewer frames,"
        " quantize='int8' or 'int4', or device='auto', which keeps layers that do not fit on the"
        " CPU"
    )


def _is_out_of_memory(error: Exception) -> bool:
    """A GPU raises its own class; on the CPU only the text of a RuntimeError tells."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return any(sign in str(error) for sign in _SIGNS)
