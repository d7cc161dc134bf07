"""The benchmark of vision-language models runs, and counts what a model really does."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.speed import made_vlm, vlm


@pytest.fixture(scope="module")
def bench() -> Iterator[vlm.Bench]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    engine = made_vlm.engine("tiny", device=torch.device("cpu"), dtype=torch.float32)
    yield vlm.Bench(engine, "tiny", repeats=1, sample=2)
    torch.set_num_threads(threads)


def test_a_case_compares_two_ways_that_agree(bench: vlm.Bench) -> None:
    case = bench.case(2, 5)
    assert case["largest_dlogit"] < 1e-4
    assert case["ratio"] == pytest.approx(case["naive_s"] / case["packed_s"])
    assert case["share"] == pytest.approx(case["ratio"] / case["ratio_allowed"])
    head, tails = case["tokens"]["head"], case["tokens"]["questions"]
    assert case["ratio_tokens"] == pytest.approx((5 * head + tails) / (head + tails))
    assert head > 2 * 64 and 1 < case["ratio_allowed"] < 5


def test_linear_operations_are_counted_as_torch_counts_them(bench: vlm.Bench) -> None:
    frames, encoded = 3, bench._encoded(3, 1)
    config = bench.engine.packer.model.config.vision_config
    with FlopCounterMode(display=False) as counter:
        bench.naive(encoded, 0)
    counted = {str(op): flops for op, flops in counter.get_flop_counts()["Global"].items()}
    linear = sum(f for op, f in counted.items() if any(k in op for k in ("mm", "conv", "linear")))
    linear -= sum(f for op, f in counted.items() if "bmm" in op)
    tokens = encoded.length + len(encoded.tails[0])
    patches = (vlm.SIDE // config.patch_size) ** 2
    keys = patches + (config.depth - 1) * (config.window_size // config.patch_size) ** 2
    attention = 4 * patches * keys * config.hidden_size
    see = frames * (bench._see() - attention)
    say = 2 * made_vlm.WORDS * bench.engine.packer.model.config.text_config.hidden_size
    assert linear == pytest.approx(see + bench._think(tokens, 0) + say, rel=1e-3)
