"""Packed questions: who sees whom, and that order, company and memory change no answer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.tiny import CPU, full_pass, random_model, small_config, small_model
from vqa.errors import OutOfMemory
from vqa.models.cogvlm2.attention import GROUP_TOKENS, Cache, Segment, Segments, attention
from vqa.models.cogvlm2.packing import Packer, Work
from vqa.models.cogvlm2.prompt import Tokens

pytestmark = pytest.mark.usefixtures("one_thread")

ATOL = 1e-5  # of states whose size is about 1
HEADS, KV, SIZE = 4, 2, 2
sizes = st.integers(1, 9)
seeds = st.integers(0, 2**32 - 1)


def _drawn(seed: int, *shapes: tuple[int, ...]) -> list[Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=draw, dtype=torch.float64) for shape in shapes]


def _by_hand(q: Tensor, k: Tensor, v: Tensor, seen: list[list[int]]) -> Tensor:
    """Softmax attention written out: query i looks at the keys `seen[i]`, head by head."""
    group = q.shape[1] // k.shape[1]
    out = torch.empty_like(q)
    for row, keys in enumerate(seen):
        for head in range(q.shape[1]):
            weight = (k[keys, head // group] @ q[row, head] / q.shape[2] ** 0.5).exp()
            out[row, head] = (weight / weight.sum()) @ v[keys, head // group]
    return out


@settings(deadline=None, max_examples=50)
@given(seeds, sizes, sizes, st.integers(1, 3), st.integers(1, 3), st.integers(1, 4))
def test_attention_without_a_mask_sees_what_is_not_after(
    seed: int, rows: int, past: int, kv: int, group: int, size: int
) -> None:
    q, k, v = _drawn(seed, (rows, kv * group, size), *[(past - 1 + rows, kv, size)] * 2)
    seen = [list(range(past + row)) for row in range(rows)]
    torch.testing.assert_close(attention(q, k, v), _by_hand(q, k, v, seen))


@settings(deadline=None, max_examples=50)
@given(seeds, sizes, sizes, st.data())
def test_attention_with_a_mask_sees_what_the_mask_leaves(
    seed: int, rows: int, keys: int, data: st.DataObject
) -> None:
    some = st.sets(st.integers(0, keys - 1), min_size=1).map(sorted)
    seen = data.draw(st.lists(some, min_size=rows, max_size=rows))
    q, k, v = _drawn(seed, (rows, HEADS, SIZE), *[(keys, KV, SIZE)] * 2)
    mask = torch.full((rows, keys), -torch.inf, dtype=q.dtype)
    for row, places in enumerate(seen):
        mask[row, places] = 0.0
    torch.testing.assert_close(attention(q, k, v, mask=mask), _by_hand(q, k, v, seen))


def _seen_in_segment(past: int, head: int, tails: list[int]) -> list[list[int]]:
    """Keys of each row: the head causally, then each question the head and itself, causally."""
    known = past + head
    seen = [list(range(past + row + 1)) for row in range(head)]
    start = known
    for length in tails:
        seen += [[*range(known), *range(start, start + step + 1)] for step in range(length)]
        start += length
    return seen


@settings(deadline=None, max_examples=40)
@given(seeds, st.integers(0, 5), st.integers(0, 5), st.lists(st.integers(1, 5), max_size=4))
def test_segment_sees_its_past_and_each_question_itself(
    seed: int, past: int, head: int, tails: list[int]
) -> None:
    if head + sum(tails) == 0 or past + head == 0:
        return  # nothing to see, or a question about nothing
    cache, rows = Cache(), head + sum(tails)
    q, k, v = _drawn(seed, (rows, HEADS, SIZE), *[(past + rows, KV, SIZE)] * 2)
    if past:
        cache.layers[7] = k[:past], v[:past]
    found = Segment(cache, head, tails, keep=True).mix(7, q, k[past:], v[past:])
    torch.testing.assert_close(found, _by_hand(q, k, v, _seen_in_segment(past, head, tails)))
    assert torch.equal(cache.layers[7][0], k[: past + head])  # no question is remembered
    assert torch.equal(cache.layers[7][1], v[: past + head])


def test_many_long_questions_are_mixed_in_groups_and_see_no_other_group() -> None:
    tails = [GROUP_TOKENS - 10, 10, 1, GROUP_TOKENS + 7, 2, 3]
    segment = Segment(Cache(), 2, tails, keep=False)
    assert [list(lengths) for _, lengths in segment.groups()] == [
        tails[:2],
        [1],
        tails[3:4],
        [2, 3],
    ]
    rows = 2 + sum(tails)
    q, k, v = _drawn(0, (rows, 1, SIZE), *[(rows, 1, SIZE)] * 2)
    found = segment.mix(0, q, k, v)
    torch.testing.assert_close(found, _by_hand(q, k, v, _seen_in_segment(0, 2, tails)))


def test_what_no_later_pass_needs_is_not_kept() -> None:
    cache = Cache()
    q, k, v = _drawn(0, (5, HEADS, SIZE), *[(5, KV, SIZE)] * 2)
    Segment(cache, 3, [2], keep=False).mix(0, q, k, v)
    assert cache.layers == {}


def test_segments_of_a_pass_see_nothing_of_each_other() -> None:
    parts = [(3, [2, 2]), (1, [4]), (0, [1])]
    caches = [Cache() for _ in parts]
    past = _drawn(1, (4, KV, SIZE), (4, KV, SIZE))
    caches[2].layers[0] = past[0], past[1]
    segments = [
        Segment(cache, head, tails, keep=False)
        for cache, (head, tails) in zip(caches, parts, strict=True)
    ]
    q, k, v = _drawn(0, (13, HEADS, SIZE), *[(13, KV, SIZE)] * 2)
    found = Segments(segments)(0, q, k, v)
    alone = [
        segment.mix(0, *(x[rows] for x in (q, k, v)))
        for segment, rows in zip(segments, (slice(0, 7), slice(7, 12), slice(12, 13)), strict=True)
    ]
    assert torch.equal(found, torch.cat(alone))


# Clips 0 and 1 have the same tokens and different pixels.
PICTURES = (2, 2, 1, 3)
TAILS = [
    Tokens.text([5 + (7 * number + place) % 40 for place in range(length)])
    for number, length in enumerate((1, 2, 3, 17, 17, 40, 200, GROUP_TOKENS))
]


@lru_cache
def _pixels(clip: int) -> Tensor:
    return torch.randn(PICTURES[clip], 3, 56, 56, generator=torch.Generator().manual_seed(clip))


def _head(pictures: int) -> Tokens:
    picture = Tokens((3,) * 6, (True,) * 6)
    numbered = [part for n in range(pictures) for part in (picture, Tokens.text([10 + n]))]
    return Tokens.joined([Tokens.text([1]), *numbered, Tokens.text([4])])


def _work(clip: int, questions: list[int]) -> Work:
    return Work(_pixels(clip), _head(PICTURES[clip]), [TAILS[number] for number in questions])


@lru_cache
def _alone(experts: bool, clip: int, question: int) -> Tensor:
    """The state at the end of one question about one clip, in a full pass of its own."""
    model = small_model(experts=experts)
    tokens = Tokens.joined([_head(PICTURES[clip]), TAILS[question]])
    return full_pass(model, tokens, model.see(_pixels(clip)))[-1]


def _packer(experts: bool, budget: int = 10**6) -> Packer:
    return Packer(small_model(experts=experts), CPU, budget)


def _states(packer: Packer, works: list[Work]) -> list[list[Tensor]]:
    return packer.run(works, lambda hidden: hidden)


questions = st.lists(st.integers(0, len(TAILS) - 1), max_size=6)


@settings(deadline=None, max_examples=60)
@given(
    st.booleans(),
    st.lists(st.tuples(st.integers(0, len(PICTURES) - 1), questions), max_size=4),
    st.integers(1, 3000),
)
def test_order_and_company_change_no_answer(
    experts: bool, asked: list[tuple[int, list[int]]], budget: int
) -> None:
    works = [_work(clip, numbers) for clip, numbers in asked]
    found = _states(_packer(experts, budget), works)
    for (clip, numbers), states in zip(asked, found, strict=True):
        assert len(states) == len(numbers)
        for number, state in zip(numbers, states, strict=True):
            expected = _alone(experts, clip, number)
            torch.testing.assert_close(state, expected, rtol=0, atol=ATOL)


@pytest.mark.parametrize("experts", [False, True])
def test_clips_with_equal_tokens_and_different_pixels_differ(experts: bool) -> None:
    """Otherwise the tests that they share nothing would hold of a model that sees nothing."""
    off = (_alone(experts, 0, 3) - _alone(experts, 1, 3)).abs().max()
    assert off > 0.1


@pytest.mark.parametrize("budget", [10**6, 40, 1])
@pytest.mark.parametrize("experts", [False, True])
def test_what_one_packer_saw_before_changes_no_bit(experts: bool, budget: int) -> None:
    fresh = [_states(_packer(experts, budget), [_work(clip, [0, 3, 5])]) for clip in (0, 1)]
    packer = _packer(experts, budget)
    for clip in (0, 1, 0, 0, 1):
        again = _states(packer, [_work(clip, [0, 3, 5])])
        assert all(map(torch.equal, again[0], fresh[clip][0]))


@pytest.mark.parametrize("budget", [10**6, 100, 1])
@pytest.mark.parametrize("change", ["noise", "nothing but NaN"])
def test_pixels_of_a_clip_reach_no_other_clip(budget: int, change: str) -> None:
    for experts in (False, True):
        works = [_work(clip, [4, 2, 5]) for clip in (0, 1, 2)]
        before = _states(_packer(experts, budget), works)
        other = (
            torch.rand(2, 3, 56, 56) if change == "noise" else torch.full((2, 3, 56, 56), torch.nan)
        )
        after = _states(
            _packer(experts, budget), [Work(other, works[0].head, works[0].tails), *works[1:]]
        )
        assert not any(map(torch.equal, before[0], after[0]))
        for clip in (1, 2):
            assert all(map(torch.equal, before[clip], after[clip]))


@pytest.mark.parametrize("experts", [False, True])
def test_a_question_cannot_see_another(experts: bool) -> None:
    work = _work(0, [3, 4, 6, 1])
    before = _states(_packer(experts), [work])[0]
    for changed in range(4):
        tails = list(work.tails)
        tails[changed] = Tokens.text([9 + (id_ % 7) for id_ in tails[changed].ids])
        after = _states(_packer(experts), [Work(work.pictures, work.head, tails)])[0]
        same = [torch.equal(*pair) for pair in zip(before, after, strict=True)]
        assert same == [number != changed for number in range(4)]


def test_the_last_token_of_a_question_is_read() -> None:
    """A question and the same one with a token more have different ends."""
    short, longer = Tokens.text([5, 6, 7]), Tokens.text([5, 6, 7, 8])
    work = Work(_pixels(2), _head(1), [short, longer])
    found = _states(_packer(False), [work])[0]
    model = small_model(experts=False)
    states = full_pass(model, Tokens.joined([_head(1), longer]), model.see(_pixels(2)))
    torch.testing.assert_close(torch.stack(found), states[-2:], rtol=0, atol=ATOL)


def test_each_question_goes_on_where_the_head_ends() -> None:
    work = _work(0, [1, 2])
    head = work.head.positions
    tails = [head[-1] + 1, head[-1] + 2], [head[-1] + 1, head[-1] + 2, head[-1] + 3]
    for with_head in (True, False):
        piece = work.piece([0, 1], Cache(), with_head=with_head, keep=False)
        before = list(head) if with_head else []
        assert list(piece.positions) == [*before, *tails[0], *tails[1]]
        assert piece.wanted == [len(before) + 1, len(before) + 4]
        assert (piece.pictures is not None) == with_head


def test_a_clip_is_encoded_once_however_many_passes_it_takes() -> None:
    model = random_model(small_config(experts=False))
    seen: list[int] = []
    model.model.vision.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    rows: list[int] = []
    model.model.layers[0].register_forward_pre_hook(lambda _, given: rows.append(len(given[0])))
    _states(Packer(model, CPU, 60), [_work(3, [3] * 6), _work(0, [5] * 3)])
    assert sum(seen) == PICTURES[3] + PICTURES[0]
    tokens = len(_head(PICTURES[3])) + 6 * 17 + len(_head(PICTURES[0])) + 3 * 40
    assert len(rows) > 3 and sum(rows) == tokens


def test_the_tower_takes_as_many_pictures_at_once_as_the_budget_allows() -> None:
    model = random_model(small_config(experts=False))
    seen: list[int] = []
    model.model.vision.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    for budget, chunks in ((1, [1, 1, 1]), (2 * 17, [2, 1]), (1000, [3])):
        seen.clear()
        _states(Packer(model, CPU, budget), [_work(3, [0])])
        assert seen == chunks


def test_nothing_asked_is_nothing_answered() -> None:
    assert _states(_packer(False), []) == []
    assert _states(_packer(True), [_work(0, []), _work(1, [])]) == [[], []]


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried"),
        RuntimeError("could not create a primitive"),  # oneDNN
        RuntimeError("std::bad_alloc"),
        MemoryError(),
    ],
    ids=repr,
)
def test_every_way_to_say_out_of_memory_halves_the_budget(error: Exception) -> None:
    """What is read out of three questions at once does not fit; of two it does."""

    def readout(hidden: Tensor) -> Tensor:
        if len(hidden) > 2:
            raise error
        return hidden

    packer, numbers = _packer(False, 200), [3, 4, 3, 4]
    (found,) = packer.run([_work(0, numbers)], readout)
    for number, state in zip(numbers, found, strict=True):
        torch.testing.assert_close(state, _alone(False, 0, number), rtol=0, atol=ATOL)
    assert packer.budget == 50

    def never(hidden: Tensor) -> Tensor:
        raise error

    with pytest.raises(OutOfMemory, match=r"does not fit into the memory: .+; give fewer frames"):
        packer.run([_work(0, numbers)], never)
    assert packer.budget == 50


def test_what_is_no_lack_of_memory_is_raised_as_it_is() -> None:
    work = _work(0, [0])
    with pytest.raises(RuntimeError, match="shape mismatch"):
        _states(_packer(False), [Work(work.pictures[:1], work.head, work.tails)])


@pytest.fixture(scope="module")
def tight() -> dict[str, Any]:
    """What tests.tight found out with less and less memory."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.tight"],
        cwd=Path(__file__).parent.parent,
        env=os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


linux = pytest.mark.skipif(sys.platform != "linux", reason="limits of memory as Linux has them")


@linux
def test_with_little_memory_the_budget_is_halved_and_the_answers_are_the_same(
    tight: dict[str, Any],
) -> None:
    assert tight["100"]["budget"] < tight["free"]["budget"] == 3000
    for free, found in zip(tight["free"]["told"], tight["100"]["told"], strict=True):
        assert found == pytest.approx(free, abs=ATOL)
    assert [len(found) for found in tight["100"]["told"]] == [26, 5]


@linux
def test_a_clip_that_does_not_fit_costs_no_other_clip(tight: dict[str, Any]) -> None:
    long, short = tight["50"]["told"]
    assert long.startswith("OutOfMemory(") and "give fewer frames" in long
    assert short == pytest.approx(tight["free"]["told"][1], abs=ATOL)
    assert tight["50"]["budget"] == 3000  # one clip that is too long makes no other one slow


@linux
def test_what_does_not_fit_at_all_is_one_clear_error(tight: dict[str, Any]) -> None:
    assert tight["nothing"].startswith("one question about one clip does not fit into the memory:")
    assert "give fewer frames, quantize='int8' or 'int4', or device='auto'" in tight["nothing"]
