"""The benchmark of judging: its two ways agree, and its count is what really runs."""

from __future__ import annotations

import operator
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.speed import made, operations
from benchmarks.speed.judge import Bench, cases, counted, spread
from tests.test_benchmarks import run
from vqa.models.cogvlm2.config import Config
from vqa.models.cogvlm2.engine import Look

TINY, REAL = made.SIZES["tiny"], made.SIZES["12.5B"]


@pytest.fixture(scope="module")
def bench() -> Bench:
    return Bench.of(size="tiny", device="cpu", repeats=1)


def pairs(lengths: list[int], head: int) -> int:
    """Queries and keys that see each other, one by one: a head, and questions behind it."""
    inside = sum(1 for length in [head, *lengths] for row in range(length) for _ in range(row + 1))
    return inside + sum(head for length in lengths for _ in range(length))


def attention(config: Config, pictures: int, seen: int) -> int:
    """Two products for every pair, in tower and decoder."""
    tower = config.vision
    inside = tower.num_hidden_layers * tower.num_positions**2 * tower.hidden_size * pictures
    return 4 * (inside + config.num_hidden_layers * seen * config.hidden_size)


def linear_flops(work: Any) -> int:
    """What runs in products of matrices and convolutions, counted by torch."""
    with FlopCounterMode(display=False) as counter:
        work()
    of_all = counter.get_flop_counts()["Global"]
    return sum(count for operation, count in of_all.items() if "attention" not in str(operation))


def test_a_naive_pass_runs_the_operations_counted(bench: Bench) -> None:
    head, [tail] = bench.engine.prompts.split(2, made.queries(1))
    pictures = torch.randn(2, 3, 56, 56)
    found = linear_flops(lambda: bench.naive(pictures, head, tail))
    size = len(head) + len(tail)
    expected = operations.naive(TINY, pictures=2, prompts=[size])
    assert found == expected - attention(TINY, 2, pairs([], size))


def test_a_packed_pass_runs_the_operations_counted(bench: Bench) -> None:
    queries = made.queries(5)
    head, tails = bench.engine.prompts.split(2, queries)
    lengths = [len(tail) for tail in tails]
    found = linear_flops(lambda: bench.packed([Look(torch.randn(2, 3, 56, 56), queries)]))
    expected = operations.packed(TINY, pictures=2, head=len(head), tails=lengths)
    assert found == expected - attention(TINY, 2, pairs(lengths, len(head)))


def test_both_ways_give_the_same_answers_and_the_row_adds_up() -> None:
    rows = list(cases(frames=[1], questions=[4, 3], repeats=1, size="tiny", device="cpu"))
    assert [(row["frames"], row["questions"]) for row in rows] == [(1, 3), (1, 4)]
    for row in rows:
        assert row["largest_dlogit"] < 1e-4
        assert row["ratio"] == pytest.approx(row["naive_s"] / row["packed_s"])
        assert row["ratio_allowed"] == row["naive_flops"] / row["packed_flops"] > 1
        assert row["share"] == pytest.approx(row["ratio"] / row["ratio_allowed"])
        assert row["rate_share"] * row["matmul_flop_rate"] * row["packed_s"] == pytest.approx(
            row["packed_flops"]
        )
    assert rows[0]["times_fewest"] == 1
    assert rows[1]["times_fewest"] == rows[1]["packed_s"] / rows[0]["packed_s"]


def test_the_command_prints_an_object_per_case() -> None:
    options = ["--size", "tiny", "--frames", "1", "--questions", "2", "--repeats", "1"]
    [row] = run("speed", "judge", "--device", "cpu", *options)
    promised = {"frames", "questions", "naive_s", "packed_s", "ratio", "ratio_allowed"}
    assert promised < set(row)
    assert row["model"] == {
        "size": "tiny",
        "parameters": TINY.num_parameters,
        "decoder": [1, 512],
        "tower": [2, 224],
    }


def test_counting_allows_twenty_times_for_the_real_model_and_64_questions_in_half_as_much() -> None:
    prompts = made.prompts(REAL)
    for frames, least in ((7, 20), (24, 26)):
        naive, few = counted(prompts, frames, made.queries(29))
        _, many = counted(prompts, frames, made.queries(64))
        assert naive / few > least
        assert many / few < 1.25


def test_the_model_to_time_has_the_proportions_of_the_real_one() -> None:
    small = made.SIZES["small"]
    for frames in (7, 24):
        here, there = (
            operations.see(config, frames) / counted(made.prompts(config), frames, ["?"])[0]
            for config in (small, REAL)
        )
        assert here == pytest.approx(there, abs=0.02)
        allowed = [
            operator.truediv(*counted(made.prompts(config), frames, made.queries(29)))
            for config in (small, REAL)
        ]
        assert allowed[0] == pytest.approx(allowed[1], rel=0.04)


def test_a_word_of_the_checklist_is_about_one_token() -> None:
    encode = made.prompts(TINY).encode
    for query in made.queries(64):
        words = len(query.split())
        assert words < len(encode(query)) <= words + 3, query
    assert [len(encode(word)) for word in ("yes", "no", "Question:", "12")] == [1, 1, 2, 2]
    assert made.tokenizer().token_to_id("<|begin_of_text|>") == TINY.bos_token_id


def test_there_are_64_questions_and_the_first_29_have_the_weights() -> None:
    texts = made.queries(64)
    assert len(set(texts)) == 64
    assert sum(text.endswith("\n") for text in texts[:29]) == 28
    assert not any(text.endswith("\n") for text in texts[29:])


@given(st.lists(st.integers(1, 9), min_size=1, max_size=40), st.integers(1, 5))
def test_a_sample_is_spread_evenly_in_length(lengths: list[int], count: int) -> None:
    found = spread(lengths, count)
    assert len(set(found)) == len(found) == min(count, len(lengths))
    chosen = [lengths[place] for place in found]
    assert chosen == sorted(chosen)
    for part, value in enumerate(chosen):  # as many are shorter as the part says
        shorter = sum(length < value for length in lengths)
        longer = sum(length > value for length in lengths)
        assert shorter <= len(lengths) * (part + 1) / len(chosen)
        assert longer <= len(lengths) * (len(chosen) - part) / len(chosen)


def test_the_middle_one_stands_for_all_when_one_is_timed() -> None:
    assert spread([5, 1, 9], 1) == [0]
