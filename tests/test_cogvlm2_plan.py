"""Which questions go through together: nothing lost, nothing twice, nothing over the budget."""

from __future__ import annotations

from itertools import chain, pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from vqa.models.cogvlm2.plan import Load, Part, plan, smallest

loads = st.lists(
    st.builds(Load, st.integers(1, 200), st.lists(st.integers(1, 60), max_size=8).map(tuple)),
    max_size=6,
)
budgets = st.integers(1, 500)


def _size(part: Part, clips: list[Load]) -> int:
    load = clips[part.clip]
    return part.with_head * load.head + sum(load.tails[tail] for tail in part.tails)


def _total(parts: tuple[Part, ...], clips: list[Load]) -> int:
    return sum(_size(part, clips) for part in parts)


@settings(deadline=None)
@given(loads, budgets)
def test_each_question_is_asked_once_and_in_order(clips: list[Load], budget: int) -> None:
    asked = [
        (part.clip, tail)
        for part in chain.from_iterable(plan(clips, budget))
        for tail in part.tails
    ]
    assert asked == [
        (clip, tail) for clip, load in enumerate(clips) for tail in range(len(load.tails))
    ]


@settings(deadline=None)
@given(loads, budgets)
def test_head_goes_through_once_and_with_the_first_questions(
    clips: list[Load], budget: int
) -> None:
    parts = list(chain.from_iterable(plan(clips, budget)))
    for clip, load in enumerate(clips):
        heads = [part.with_head for part in parts if part.clip == clip]
        assert heads == ([True] + [False] * (len(heads) - 1) if load.tails else [])


@settings(deadline=None)
@given(loads, budgets)
def test_only_a_single_question_exceeds_the_budget(clips: list[Load], budget: int) -> None:
    for parts in plan(clips, budget):
        assert parts and all(part.tails for part in parts)
        alone = len(parts) == 1 and len(parts[0].tails) == 1
        assert alone or _total(parts, clips) <= budget


@settings(deadline=None)
@given(loads, budgets)
def test_no_pass_is_begun_while_the_next_question_fits_into_the_last(
    clips: list[Load], budget: int
) -> None:
    for parts, later in pairwise(plan(clips, budget)):
        first = later[0]
        load = clips[first.clip]
        needed = first.with_head * load.head + load.tails[first.tails[0]]
        assert _total(parts, clips) + needed > budget


@settings(deadline=None)
@given(loads, budgets)
def test_a_clip_stands_once_in_a_pass(clips: list[Load], budget: int) -> None:
    for parts in plan(clips, budget):
        numbers = [part.clip for part in parts]
        assert len(numbers) == len(set(numbers))


@settings(deadline=None)
@given(loads, budgets)
def test_smallest_are_the_passes_of_one_question(clips: list[Load], budget: int) -> None:
    passes = plan(clips, budget)
    questions = [sum(len(part.tails) for part in parts) for parts in passes]
    assert smallest(passes) == all(count == 1 for count in questions)


@settings(deadline=None)
@given(loads)
def test_a_budget_of_one_asks_one_question_at_a_time(clips: list[Load]) -> None:
    passes = plan(clips, 1)
    assert smallest(passes) and len(passes) == sum(len(load.tails) for load in clips)


def test_clips_share_a_pass_and_a_long_list_is_cut() -> None:
    clips = [Load(10, (3, 3, 3)), Load(10, (3,) * 8), Load(5, ()), Load(10, (3,))]
    assert plan(clips, 1000) == [
        (
            Part(0, True, (0, 1, 2)),
            Part(1, True, tuple(range(8))),
            Part(3, True, (0,)),
        )
    ]
    assert plan(clips, 22) == [
        (Part(0, True, (0, 1, 2)),),
        (Part(1, True, (0, 1, 2, 3)),),
        (Part(1, False, (4, 5, 6, 7)),),
        (Part(3, True, (0,)),),
    ]


def test_rest_of_a_clip_shares_a_pass_with_the_next_clip() -> None:
    assert plan([Load(10, (5, 5, 5)), Load(4, (2,))], 20) == [
        (Part(0, True, (0, 1)),),
        (Part(0, False, (2,)), Part(1, True, (0,))),
    ]


def test_nothing_asked_is_nothing_to_do() -> None:
    assert plan([], 10) == plan([Load(10, ())], 10) == []
    assert smallest([])
