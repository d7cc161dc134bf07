"""What judging costs: a full pass per question against all questions of a clip packed into one.

    python -m benchmarks speed judge [--json] [--frames 7,24] [--questions 29,64] [--size small]

Both ways run the same random weights through the same layers and kernels, in turn, in one process;
medians are compared. Naive is what the released script does: for every question the pictures are
encoded anew, the whole prompt goes through all layers, and the whole vocabulary is read, here at
the last position only. (The released code reads it at all positions and goes on to a second token:
a few percent more, left out.) Its passes do not depend on each other, so that a few questions,
evenly spread in length, are timed and stand for all: `naive_sampled`. Decoding the file and scaling
the frames are in neither.

`ratio_allowed` is what counting floating point operations allows for this model, `share` how much
of it is reached, `ratio_allowed_12.5B` the same count for the real model. `rate_share` is the rate
of operations when packed over that of `torch.mm` on the model's largest products in the same run.
`times_fewest` is `packed_s` over that of the fewest questions about as many frames.
`largest_dlogit` is how far apart the two ways are in logit(yes) - logit(no).

On a CPU the model has a quarter of the real widths and layers. With a GPU it is
the real shape in bfloat16, made on the card, and several clips go through together.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks.speed import made, operations
from vqa.models.cogvlm2.attention import Cache, Segment
from vqa.models.cogvlm2.engine import Engine, Look
from vqa.models.cogvlm2.forward import Piece
from vqa.models.cogvlm2.prompt import Prompts, Tokens

Case = dict[str, Any]
REAL = "12.5B"


def cases(
    *,
    frames: Sequence[int],
    questions: Sequence[int],
    repeats: int,
    size: str | None = None,
    device: str | None = None,
) -> Iterator[Case]:
    """One dictionary per case, as it is measured."""
    torch.manual_seed(0)
    bench = Bench.of(size=size, device=device, repeats=repeats)
    for pictures in frames:
        fewest_s = 0.0
        for count in sorted(questions):
            case = bench.case(pictures, count)
            fewest_s = fewest_s or case["packed_s"]
            yield case | {"times_fewest": case["packed_s"] / fewest_s} | bench.about()


def print_case(case: Case, *, as_json: bool) -> None:
    """One line per case."""
    if as_json:
        print(json.dumps({key: _rounded(value) for key, value in case.items()}), flush=True)
        return
    print(
        f"{case['frames']} frames, {case['questions']} questions: naive {case['naive_s']:.2f} s,"
        f" packed {case['packed_s']:.3f} s, {case['ratio']:.1f}x of {case['ratio_allowed']:.1f}x"
        f" ({case['share']:.0%}); {case['times_fewest']:.2f} times the fewest questions;"
        f" {case['packed_flop_rate'] / 1e9:.0f} GFLOP/s, {case['rate_share']:.0%} of torch.mm",
        flush=True,
    )


@dataclass(frozen=True, eq=False)
class Bench:
    """A model to time.

    clips -- how many go through together when packed. sample -- questions timed the naive way.
    """

    engine: Engine
    size: str
    clips: int
    sample: int
    repeats: int

    @classmethod
    def of(cls, *, size: str | None, device: str | None, repeats: int) -> Bench:
        """Make a model: on a GPU the real shape in bfloat16, unless told otherwise."""
        place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        card = place.type != "cpu"
        size = size or (REAL if card else "small")
        dtype = torch.bfloat16 if card else torch.float32
        engine = made.engine(made.SIZES[size], device=place, dtype=dtype)
        return cls(engine, size, clips=16 if card else 1, sample=2 if card else 3, repeats=repeats)

    def case(self, frames: int, questions: int) -> Case:
        """Time both ways on a clip of noise, and products of matrices, in turn."""
        queries = made.queries(questions)
        head, tails = self.engine.prompts.split(frames, queries)
        lengths = [len(tail) for tail in tails]
        sample = spread(lengths, self.sample)
        pictures = torch.randn(frames, 3, *[self.engine.config.vision.image_size] * 2)
        looks = [Look(pictures.roll(shift), queries) for shift in range(self.clips)]
        products = self._products(frames, len(head) + sum(lengths))

        packed, multiply = partial(self.packed, looks), partial(_multiply, products)
        naive = [partial(self.naive, pictures, head, tails[number]) for number in sample]
        # The first run also pays for the allocator and for the choice of kernels.
        together, alone, _ = packed(), [ask() for ask in naive], multiply()
        packed_s, multiply_s, *naive_s = self._medians([packed, multiply, *naive])
        return {
            "frames": frames,
            "questions": len(queries),
            **self._compared(
                frames,
                queries,
                naive_s=statistics.mean(naive_s) * len(queries),
                packed_s=packed_s / self.clips,
                matmul_rate=sum(2 * x.numel() * len(w) for x, w in products) / multiply_s,
            ),
            "naive_sampled": len(sample),
            "largest_dlogit": max(abs(together[n] - a) for n, a in zip(sample, alone, strict=True)),
            "tokens": {"head": len(head), "questions": sum(lengths)},
        }

    def packed(self, looks: Sequence[Look]) -> list[float]:
        """Ask everything at once; give logit(yes) - logit(no) about the first clip."""
        return [reading.logit_yes - reading.logit_no for reading in self.engine.read(looks)[0]]

    @torch.inference_mode()
    def naive(self, pictures: Tensor, head: Tokens, tail: Tokens) -> float:
        """Ask one question in a pass of its own; give logit(yes) - logit(no)."""
        prompt, packer = Tokens.joined([head, tail]), self.engine.packer
        alone = Segment(Cache(), len(prompt), [], keep=False)
        piece = Piece(prompt, prompt.positions, alone, range(len(prompt)), pictures)
        logits = packer.model.logits(packer.runner.run([piece])[-1])
        yes, no = (self.engine.prompts.answer_token(text) for text in ("yes", "no"))
        return float(logits[yes] - logits[no])

    def about(self) -> Case:
        """What was measured on what."""
        packer, config = self.engine.packer, self.engine.config
        card = packer.device.type == "cuda"
        return {
            "device": torch.cuda.get_device_name() if card else "cpu",
            "threads": torch.get_num_threads(),
            "dtype": str(packer.model.lm_head.weight.dtype).removeprefix("torch."),
            "torch": torch.__version__,
            "model": {
                "size": self.size,
                "parameters": config.num_parameters,
                "decoder": [config.num_hidden_layers, config.hidden_size],
                "tower": [config.vision.num_hidden_layers, config.vision.hidden_size],
            },
            "clips_together": self.clips,
            "token_budget": packer.budget,
            "peak_gb": torch.cuda.max_memory_allocated() / 1e9 if card else None,
            "repeats": self.repeats,
        }

    def _compared(
        self,
        frames: int,
        queries: Sequence[str],
        *,
        naive_s: float,
        packed_s: float,
        matmul_rate: float,
    ) -> Case:
        naive_flops, packed_flops = counted(self.engine.prompts, frames, queries)
        real_naive, real_packed = counted(made.prompts(made.SIZES[REAL]), frames, queries)
        ratio, allowed = naive_s / packed_s, naive_flops / packed_flops
        return {
            "naive_s": naive_s,
            "packed_s": packed_s,
            "clips_per_s": 1 / packed_s,
            "ratio": ratio,
            "ratio_allowed": allowed,
            "share": ratio / allowed,
            "ratio_allowed_12.5B": real_naive / real_packed,
            "naive_flops": naive_flops,
            "packed_flops": packed_flops,
            "naive_flop_rate": naive_flops / naive_s,
            "packed_flop_rate": packed_flops / packed_s,
            "matmul_flop_rate": matmul_rate,
            "rate_share": packed_flops / packed_s / matmul_rate,
        }

    def _products(self, frames: int, tokens: int) -> list[tuple[Tensor, Tensor]]:
        """Operands of the largest products: the MLP of the tower, and that of the decoder."""
        config, packer = self.engine.config, self.engine.packer
        pictures = min(self.clips * frames, packer.runner.pictures_at_once)
        rows = pictures * config.vision.num_positions, min(self.clips * tokens, packer.budget)
        sizes = [
            (rows[0], config.vision.hidden_size, config.vision.intermediate_size),
            (rows[1], config.hidden_size, config.intermediate_size),
        ]
        both_ways = [(m, *way) for m, k, n in sizes for way in ((k, n), (n, k))]
        like = packer.model.lm_head.weight
        return [(_noise(like, m, k), _noise(like, n, k)) for m, k, n in both_ways]

    def _medians(self, works: Sequence[Callable[[], object]]) -> list[float]:
        """Seconds of each, in turn, `repeats` times."""
        times = [[self._seconds(work) for work in works] for _ in range(self.repeats)]
        return [statistics.median(column) for column in zip(*times, strict=True)]

    def _seconds(self, work: Callable[[], object]) -> float:
        self._wait()
        start = time.perf_counter()
        work()
        self._wait()
        return time.perf_counter() - start

    def _wait(self) -> None:
        if self.engine.packer.device.type == "cuda":
            torch.cuda.synchronize()


def spread(lengths: Sequence[int], count: int) -> list[int]:
    """Places of at most `count` lengths: the middle ones of as many equal parts, sorted."""
    order = sorted(range(len(lengths)), key=lambda place: lengths[place])
    count = min(count, len(order))
    return [order[(2 * part + 1) * len(order) // (2 * count)] for part in range(count)]


def counted(prompts: Prompts, frames: int, queries: Sequence[str]) -> tuple[int, int]:
    """Operations of the naive way and of packing, for the model of these prompts."""
    head, tails = prompts.split(frames, queries)
    lengths = [len(tail) for tail in tails]
    wholes = [len(head) + length for length in lengths]
    return (
        operations.naive(prompts.config, pictures=frames, prompts=wholes),
        operations.packed(prompts.config, pictures=frames, head=len(head), tails=lengths),
    )


@torch.inference_mode()
def _multiply(products: Sequence[tuple[Tensor, Tensor]]) -> None:
    for x, weight in products:
        torch.mm(x, weight.t())


def _noise(like: Tensor, rows: int, columns: int) -> Tensor:
    return torch.randn(rows, columns, dtype=like.dtype, device=like.device)


def _rounded(value: object) -> object:
    return float(f"{value:.4g}") if isinstance(value, float) else value
