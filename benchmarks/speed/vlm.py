"""What a vision-language model costs: a full pass per question against shared pictures.

    python -m benchmarks speed vlm [--json] [--frames 8] [--questions 29] [--size small]

Both ways run the same random weights in the shape of Qwen2.5-VL through the same transformers
model, in turn, in one process; medians are compared. Naive encodes the pictures and runs the whole
prompt for each question; its passes do not depend on each other, so that a few questions, evenly
spread in length, are timed and stand for all. Decoding, scaling and tokenising are in neither.

`ratio_allowed` is what counting the floating point operations of both ways allows, with no padding
and logits at the last token only; `share` is how much of it is reached (on a busy machine it has
come out above 1). `ratio_tokens` is the same with tokens of the decoder alone: all prompts over the
head and all tails. `largest_dlogit` is how far apart the two ways are in log P(yes) or log P(no).
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from benchmarks.speed import made, made_vlm
from benchmarks.speed.judge import spread
from vqa.judges.wording import OF_FRAMES, worded
from vqa.models.vlm.engine import Engine
from vqa.models.vlm.prompts import Encoded, Pictures

Case = dict[str, Any]
SIDE = 224  # pixels of a frame: 64 tokens


def cases(
    *,
    frames: Sequence[int],
    questions: Sequence[int],
    repeats: int,
    size: str | None = None,
    device: str | None = None,
) -> Iterator[Case]:
    """One dictionary per case, as it is measured."""
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    size = size or "small"
    dtype = torch.float32 if place.type == "cpu" else torch.bfloat16
    bench = Bench(made_vlm.engine(size, device=place, dtype=dtype), size, repeats)
    for count in frames:
        for number in questions:
            yield bench.case(count, number)


def print_case(case: Case, *, as_json: bool) -> None:
    """One line per case."""
    if as_json:
        print(json.dumps({key: _rounded(value) for key, value in case.items()}), flush=True)
        return
    print(
        f"{case['frames']} frames, {case['questions']} questions: one by one"
        f" {case['naive_s']:.2f} s, packed {case['packed_s']:.3f} s, {case['ratio']:.1f}x of"
        f" {case['ratio_allowed']:.1f}x ({case['share']:.0%})",
        flush=True,
    )


@dataclass(frozen=True, eq=False)
class Bench:
    """A model to time; `sample` questions stand for all where each has a pass of its own."""

    engine: Engine
    size: str
    repeats: int
    sample: int = 3

    def case(self, frames: int, questions: int) -> Case:
        """Time both ways on frames of noise."""
        encoded = self._encoded(frames, questions)
        lengths = [len(tail) for tail in encoded.tails]
        sample = spread(lengths, self.sample)
        packed = partial(self.packed, encoded)
        naive = [partial(self.naive, encoded, number) for number in sample]
        # The first run also pays for the allocator and for the choice of kernels.
        together, alone = packed(), [ask() for ask in naive]
        apart = max(_apart(together[n], one) for n, one in zip(sample, alone, strict=True))
        packed_s, *naive_s = self._medians([packed, *naive])
        all_s = statistics.mean(naive_s) * questions
        wholes = [encoded.length + length for length in lengths]
        allowed = self._operations(frames, encoded.length, lengths)
        return {
            "frames": frames,
            "questions": questions,
            "naive_s": all_s,
            "packed_s": packed_s,
            "ratio": all_s / packed_s,
            "ratio_allowed": allowed,
            "share": all_s / packed_s / allowed,
            "ratio_tokens": sum(wholes) / (encoded.length + sum(lengths)),
            "naive_sampled": len(sample),
            "largest_dlogit": apart,
            "tokens": {"head": encoded.length, "questions": sum(lengths)},
            **self._about(),
        }

    def packed(self, encoded: Encoded) -> list[list[float]]:
        """Log P(yes) and log P(no) of all questions together."""
        values = self.engine.packer.packed(encoded, self.engine.sides)
        return [value.tolist() for value in values]

    def naive(self, encoded: Encoded, number: int) -> list[float]:
        """The same of one question in a pass of its own."""
        logits = self.engine.packer.full(encoded.whole(number))
        found: list[float] = self.engine.sides(logits[None])[0].tolist()
        return found

    def _encoded(self, frames: int, questions: int) -> Encoded:
        rng = np.random.default_rng(0)
        noise = rng.integers(0, 256, (frames, SIDE, SIDE, 3), np.uint8)
        texts = [worded(query, frames=frames) for query in made.queries(questions)]
        lead, _, _ = OF_FRAMES.partition("{question}")
        pictures = Pictures([Image.fromarray(frame) for frame in noise])
        encoded = self.engine.prompts.encode(pictures, texts, lead=lead)
        assert encoded is not None
        return encoded

    def _operations(self, frames: int, head: int, tails: Sequence[int]) -> float:
        """Operations of a pass per question over those of the head once and the tails behind it."""
        see = frames * self._see()
        naive = sum(see + self._think(head + tail, _causal(head + tail)) for tail in tails)
        pairs = _causal(head) + sum(head * tail + _causal(tail) for tail in tails)
        say = 2 * made_vlm.WORDS * self._text.hidden_size * len(tails)
        packed = see + self._think(head + sum(tails), pairs)
        return float((naive + say) / (packed + say))

    def _see(self) -> int:
        """One frame through the tower: linear layers at each patch, the merger at each fourth."""
        config, tower = self._config.vision_config, self.engine.packer.model.model.visual
        patches = (SIDE // config.patch_size) ** 2
        window = (config.window_size // config.patch_size) ** 2
        seen = len(config.fullatt_block_indexes)
        keys = seen * patches + (config.depth - seen) * window
        embed = 3 * config.temporal_patch_size * config.patch_size**2 * config.hidden_size
        each = _weights(tower.blocks) + embed + _weights(tower.merger) // 4
        return int(2 * patches * each + 4 * patches * keys * config.hidden_size)

    def _think(self, tokens: int, pairs: int) -> int:
        """So many tokens through the decoder, with so many pairs of a query and a key it sees."""
        layers = self.engine.packer.model.model.language_model.layers
        config = self._text
        return int(2 * tokens * _weights(layers) + 4 * pairs * config.hidden_size * len(layers))

    @property
    def _config(self) -> Any:
        return self.engine.packer.model.config

    @property
    def _text(self) -> Any:
        return self._config.text_config

    def _about(self) -> Case:
        """What was measured on what."""
        packer = self.engine.packer
        card = packer.device.type == "cuda"
        return {
            "device": torch.cuda.get_device_name() if card else "cpu",
            "threads": torch.get_num_threads(),
            "dtype": str(packer.model.dtype).removeprefix("torch."),
            "torch": torch.__version__,
            "transformers": made_vlm.library.__version__,
            "model": {"size": self.size, "parameters": packer.model.num_parameters()},
            "repeats": self.repeats,
        }

    def _medians(self, works: Sequence[Callable[[], object]]) -> list[float]:
        """Seconds of each, in turn, `repeats` times."""
        times = [[self._seconds(work) for work in works] for _ in range(self.repeats)]
        return [statistics.median(column) for column in zip(*times, strict=True)]

    def _seconds(self, work: Callable[[], object]) -> float:
        start = time.perf_counter()
        work()  # gives numbers to the CPU, so that a card has finished
        return time.perf_counter() - start


def _weights(module: nn.Module) -> int:
    """Elements of all matrices of linear layers."""
    return sum(m.weight.numel() for m in module.modules() if isinstance(m, nn.Linear))


def _causal(tokens: int) -> int:
    return tokens * (tokens + 1) // 2


def _apart(one: Sequence[float], other: Sequence[float]) -> float:
    return max(abs(a - b) for a, b in zip(one, other, strict=True))


def _rounded(value: object) -> object:
    return float(f"{value:.4g}") if isinstance(value, float) else value
