"""Samplers: the released frame choice exactly, and properties that hold for every clip."""

from __future__ import annotations

import itertools
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.clip import Clip
from features.encode import write_clip
from tests.conftest import busy, gray_steps
from vqa.errors import BadArgument, BadFrames
from vqa.sample import (
    All,
    AroundMotion,
    AtRate,
    EvenRate,
    PerSecond,
    Strided,
    Uniform,
    around_motion,
    at_rate,
    even_rate,
    per_second,
    strided,
    uniform,
)

DATA = Path(__file__).parent / "data"
CASES = json.loads((DATA / "frames.json").read_text())["cases"]
STRIDED = json.loads((DATA / "videoscore-tiny" / "expected.json").read_text())
EVEN_RATE = json.loads((DATA / "videoscore-qwen2vl-tiny" / "expected.json").read_text())

# Two frames may share a time; no format tells times apart that differ by less than a millisecond.
gaps = st.lists(st.just(0.0) | st.floats(2**-10, 3, width=32), min_size=0, max_size=80)
counts = st.integers(1, 40)


def _times(gaps: list[float]) -> list[float]:
    return [0.0, *itertools.accumulate(gaps)]


def _sizes(case: dict[str, Any]) -> str:
    return "-".join(str(value) for value in case.values() if not isinstance(value, list))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_the_frames_the_released_code_chose(case: dict[str, Any]) -> None:
    times_s = np.array(case["timestamps"], np.float32)
    assert per_second(times_s, limit=24) == case["chat"]
    assert uniform(case["num_frames"], case["avg_fps"], count=24, first_s=60) == case["base"]


@pytest.mark.parametrize("case", STRIDED["frame_sampling_run_script"], ids=_sizes)
def test_the_frames_videoscore_chose(case: dict[str, Any]) -> None:
    assert strided(case["total_frames"], count=case["max_num_frames"]) == case["indices"]


@pytest.mark.parametrize("case", STRIDED["frame_sampling_benchmark_script"], ids=_sizes)
def test_the_frames_videoscore_chose_in_its_benchmark(case: dict[str, Any]) -> None:
    """Another sampler than the example script's: `Uniform` over the whole clip."""
    total, count = case["total_frames"], case["max_num_frames"]
    assert uniform(total, 1.0, count=count, first_s=1e9) == case["indices"]


@pytest.mark.parametrize("case", EVEN_RATE["frame_sampling_fps8"], ids=_sizes)
def test_the_frames_videoscore_qwen2vl_chose(case: dict[str, Any]) -> None:
    found = even_rate(case["total_frames"], case["video_fps"], wanted=8, limit=768)
    assert (len(found), found) == (case["nframes"], case["indices"])


def test_samplers_choose_by_the_clip(steps_mp4: str) -> None:
    clip = Clip.open(steps_mp4)  # 20 frames at 8 fps, the last one at 2.375 s
    assert PerSecond()(clip).indices == (0, 8, 16)
    assert PerSecond(limit=2)(clip).indices == (0, 8)
    assert Uniform(5)(clip).indices == (0, 4, 9, 14, 19)
    assert Uniform(5, first_s=1)(clip).indices == (0, 1, 3, 5, 7)
    assert AtRate(fps=4)(clip).indices == (0, 2, 4, 6, 8, 10, 12, 14, 16, 18)
    assert AtRate(fps=4, limit=3)(clip).indices == (0, 2, 4)
    assert Strided(5)(clip).indices == (0, 4, 8, 12, 16)
    assert Strided()(clip).indices == tuple(int(i * 20 / 16) for i in range(16))
    assert Strided(48)(clip).indices == tuple(range(20))
    assert EvenRate()(clip).indices == tuple(range(20))
    assert EvenRate(fps=2)(clip).indices == (0, 6, 13, 19)
    assert EvenRate(limit=6)(clip).indices == (0, 4, 8, 11, 15, 19)
    assert All()(clip).indices == tuple(range(20))
    assert clip.indices is None


def test_more_samples_than_frames_repeats_frames(steps_mp4: str) -> None:
    chosen = Uniform(40)(Clip.open(steps_mp4)).indices
    assert chosen is not None
    assert len(chosen) == 40
    assert set(chosen) == set(range(20))


def test_a_clip_slower_than_the_rate_repeats_frames() -> None:
    assert at_rate([0, 1, 2], fps=4, limit=24) == [0, 0, 0, 1, 1, 1, 1, 2, 2]


def test_an_irregular_clip_is_sampled_by_time_and_not_by_index() -> None:
    times_s = [0, 0.1, 0.2, 0.3, 2.0, 2.1, 4.0]
    assert per_second(times_s, limit=24) == [0, 3, 4, 5, 6]


def test_a_sampler_is_a_value() -> None:
    assert repr(PerSecond(limit=24)) == "PerSecond(limit=24)"
    assert repr(Uniform(24, first_s=60)) == "Uniform(count=24, first_s=60)"
    assert repr(AtRate(fps=4, limit=24)) == "AtRate(fps=4, limit=24)"
    assert repr(Strided(48)) == "Strided(count=48)"
    assert repr(EvenRate()) == "EvenRate(fps=8, limit=768)"
    others = (Strided(3), EvenRate(2), All())
    for sampler in (PerSecond(3), Uniform(3), AtRate(2), AroundMotion(3), *others):
        assert eval(repr(sampler)) == sampler
        assert pickle.loads(pickle.dumps(sampler)) == sampler
        assert len({sampler, sampler}) == 1


@pytest.mark.parametrize("make", [PerSecond, Uniform, AroundMotion, AtRate, Strided, EvenRate])
@pytest.mark.parametrize("value", [0, -1])
def test_nothing_to_sample_is_refused(make: Any, value: int) -> None:
    with pytest.raises(BadArgument, match="must be positive, not"):
        make(value)


@given(gaps, counts)
def test_per_second_is_in_range_sorted_and_limited(gaps: list[float], limit: int) -> None:
    times_s = _times(gaps)
    chosen = per_second(times_s, limit=limit)
    assert 1 <= len(chosen) <= limit
    assert chosen == sorted(chosen)
    assert set(chosen) <= set(range(len(times_s)))


@given(st.integers(1, 5000), st.floats(0.1, 240), counts, st.floats(0.1, 100))
def test_uniform_has_its_count_and_both_ends(
    total: int, fps: float, count: int, first_s: float
) -> None:
    chosen = uniform(total, fps, count=count, first_s=first_s)
    assert len(chosen) == count
    assert chosen == sorted(chosen)
    assert chosen[0] == 0
    if count > 1:
        assert chosen[-1] == max(1, min(total, int(first_s * fps))) - 1


@given(gaps, st.floats(0.5, 30), counts)
def test_at_rate_is_in_range_sorted_and_limited(gaps: list[float], fps: float, limit: int) -> None:
    times_s = _times(gaps)
    chosen = at_rate(times_s, fps=fps, limit=limit)
    assert 1 <= len(chosen) <= limit
    assert chosen == sorted(chosen)
    assert set(chosen) <= set(range(len(times_s)))


@given(st.integers(1, 5000), counts)
def test_strided_starts_at_the_first_frame_and_steps_evenly(total: int, count: int) -> None:
    chosen = strided(total, count=count)
    assert len(chosen) == min(total, count)
    assert (chosen[0], len(set(chosen))) == (0, len(chosen))
    steps = [after - before for before, after in itertools.pairwise(chosen)]
    assert all(abs(step - total / len(chosen)) < 1 for step in steps)
    if total > count:
        assert chosen[-1] < total - 1


@given(st.integers(2, 5000), st.floats(1, 240), st.floats(0.1, 60), st.integers(2, 1000))
def test_even_rate_has_both_ends_and_an_even_number_between_its_limits(
    total: int, fps: float, wanted: float, limit: int
) -> None:
    chosen = even_rate(total, fps, wanted=wanted, limit=limit)
    assert len(chosen) % 2 == 0 and 2 <= len(chosen) <= min(limit, total)
    assert (chosen[0], chosen[-1], len(set(chosen))) == (0, total - 1, len(chosen))
    assert chosen == sorted(chosen)
    if min(limit, total) >= 4:
        assert len(chosen) >= 4
    due = total / fps * wanted
    if 4 <= due <= min(limit, total) - 1:
        assert abs(len(chosen) - due) <= 1 + 1e-6


@given(gaps, counts, st.data())
def test_around_motion_has_its_count_both_ends_and_no_repeats(
    gaps: list[float], count: int, data: st.DataObject
) -> None:
    times_s = _times(gaps)
    motion = data.draw(
        st.lists(st.floats(0, 255), min_size=len(gaps), max_size=len(gaps)), label="motion"
    )
    chosen = around_motion(times_s, motion, count=count)
    assert len(chosen) == count
    assert chosen == sorted(chosen)
    assert set(chosen) <= set(range(len(times_s)))
    if 1 < count <= len(times_s):
        assert len(set(chosen)) == count
        assert (chosen[0], chosen[-1]) == (0, len(times_s) - 1)


def test_samples_are_spent_where_things_move() -> None:
    times_s = [i / 10 for i in range(101)]
    motion = [10.0 if 40 <= i < 60 else 0.0 for i in range(100)]
    chosen = around_motion(times_s, motion, count=21)
    moving = [index for index in chosen if 40 <= index <= 60]
    assert len(moving) >= 14  # a fifth of the clip gets two thirds of the samples
    assert len([index for index in chosen if index < 40]) >= 2  # still parts are seen
    assert len([index for index in chosen if index > 60]) >= 2


def test_a_still_clip_is_sampled_evenly() -> None:
    assert around_motion([i / 8 for i in range(41)], [0.0] * 40, count=5) == [0, 10, 20, 30, 40]


def test_a_cut_costs_one_sample_and_not_all_of_them() -> None:
    times_s = [i / 10 for i in range(100)]
    motion = [1.0] * 99
    motion[50] = 10_000
    chosen = around_motion(times_s, motion, count=10)
    assert max(index for index in chosen if index <= 50) >= 49
    assert min(index for index in chosen if index > 50) <= 52
    assert len([index for index in chosen if index < 50]) >= 3
    assert len([index for index in chosen if index > 51]) >= 3


def test_motion_is_measured_in_the_clip(tmp_path: Path) -> None:
    still, moving = busy(1)[0], busy(20)
    path = write_clip(tmp_path / "a.mp4", [still] * 30 + moving + [moving[-1]] * 30, fps=10, crf=10)
    chosen = AroundMotion(10)(Clip.open(path)).indices
    assert chosen is not None
    assert len([index for index in chosen if 29 <= index <= 50]) >= 6
    assert (chosen[0], chosen[-1]) == (0, 79)
    assert chosen == AroundMotion(10)(Clip.open(path)).indices


def test_one_frame_can_be_sampled_in_every_way() -> None:
    clip = Clip.from_frames(gray_steps(1))
    for sampler in (PerSecond(), AtRate(), Strided(), All()):
        assert sampler(clip).indices == (0,)
    for repeating in (Uniform(3), AroundMotion(3)):
        assert repeating(clip).indices == (0, 0, 0)


def test_a_network_of_frame_pairs_refuses_a_single_frame() -> None:
    with pytest.raises(BadFrames, match="has 1 frame; this network looks at pairs"):
        EvenRate()(Clip.from_frames(gray_steps(1)))
