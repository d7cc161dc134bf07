"""Statistics of curves against scipy and against signals whose answer is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter1d

from features.series import mean, rms, runs, second_difference_noise, segments, smooth

TIMES = np.arange(96) / 24


def test_a_steady_pan_has_no_fast_part_up_to_its_ends() -> None:
    pan = np.stack([3.0 * TIMES, -40.0 * TIMES], axis=1)
    assert np.abs(pan - smooth(pan, TIMES)).max() < 1e-9


def test_inside_the_clip_it_is_scipys_gaussian_filter() -> None:
    path = np.random.default_rng(1).standard_normal((200, 1))
    ours = smooth(path, np.arange(200) / 24, sigma_s=0.125)
    theirs = gaussian_filter1d(path[:, 0], 3.0, truncate=4.0)
    assert np.allclose(ours[20:-20, 0], theirs[20:-20], atol=2e-3)


@pytest.mark.parametrize(
    ("hertz", "least", "most"), [(0.2, 0.0, 0.06), (2.0, 0.9, 1.0), (5.0, 0.97, 1.03)]
)
def test_shake_passes_and_sway_does_not(hertz: float, least: float, most: float) -> None:
    times = np.arange(480) / 24
    sway = np.sin(2 * np.pi * hertz * times)[:, None]
    fast = (sway - smooth(sway, times))[48:-48]
    assert least <= np.abs(fast).max() <= most


def test_a_missing_frame_does_not_bend_a_pan() -> None:
    times = np.delete(TIMES, [7, 8, 40])
    pan = 12.0 * times[:, None]
    assert np.abs(pan - smooth(pan, times)).max() < 1e-9


def test_times_out_of_each_others_reach_stay_as_they_are() -> None:
    times = np.array([0.0, 10.0, 20.0])
    path = np.array([[0.0], [5.0], [-3.0]])
    assert np.array_equal(smooth(path, times), path)


@given(st.floats(-5, 5), st.floats(-5, 5))
def test_a_fade_is_not_noise(slope: float, start: float) -> None:
    assert np.abs(second_difference_noise(start + slope * TIMES)).max() < 1e-9


def test_independent_noise_is_found_in_full_on_top_of_a_fade() -> None:
    rng = np.random.default_rng(0)
    noisy = 0.1 * TIMES.repeat(50)[:4000] / 50 + 0.02 * rng.standard_normal(4000)
    assert rms(second_difference_noise(noisy)) == pytest.approx(0.02, rel=0.05)


def test_nothing_has_no_mean() -> None:
    assert mean([]) is None
    assert rms([float("nan")]) is None


@given(st.lists(st.booleans(), max_size=40))
def test_runs_cover_exactly_the_true_places(flags: list[bool]) -> None:
    covered = {i for start, stop in runs(flags) for i in range(start, stop)}
    assert covered == {i for i, flag in enumerate(flags) if flag}
    assert all(
        stop < start for (_, stop), (start, _) in zip(runs(flags), runs(flags)[1:], strict=False)
    )


@given(st.lists(st.integers(-5, 60)), st.integers(1, 50))
def test_segments_partition_the_clip(breaks: list[int], length: int) -> None:
    pieces = segments(breaks, length)
    assert [i for piece in pieces for i in range(piece.start, piece.stop)] == list(range(length))
    assert all(piece.stop > piece.start for piece in pieces)
