"""Smoothness on motion that is steady, stuttering, or of things that change their shape."""

import numpy as np
import pytest

from features.clip import Clip
from features.degrade import slow, wobble
from features.measure import measure
from features.synthetic import Scene, render
from tests.numbers import known

STEADY = Scene(frames=24, pan_px=(2.0, 0.0))
RNG = np.random.default_rng(0)


def features(frames: np.ndarray) -> dict[str, float | None]:
    return measure(Clip.from_frames(frames, fps=24)).features


def test_a_steady_pan_is_predicted_by_its_neighbours_and_has_no_jerk() -> None:
    found = features(render(STEADY))
    assert known(found["interpolation_error"]) < 0.005
    assert known(found["motion_jerk_ratio"]) < 0.1


def test_every_second_frame_repeated_makes_the_jerk_four_times_the_speed() -> None:
    found = features(slow(render(STEADY), 2, RNG))
    # Speeds 0, v, 0, v ...: second difference 2 v in every step, mean speed v / 2.
    assert found["motion_jerk_ratio"] == pytest.approx(4.0, rel=0.05)
    assert known(found["interpolation_error"]) > 0.01


def test_jerk_of_a_known_path_is_its_second_difference() -> None:
    still = Scene(width=400, height=320, frames=1)
    canvas = render(still)[0]
    x = np.minimum(np.arange(20) ** 2 // 8, 70)  # whole pixels: exact shifts
    frames = np.stack([canvas[40:280, 70 - k : 390 - k] for k in x])
    expected = np.abs(np.diff(x, n=3)).mean()
    assert features(frames)["motion_jerk_px"] == pytest.approx(expected, abs=0.05)


def test_things_that_change_their_shape_do_not_warp_onto_themselves() -> None:
    frames = render(STEADY)
    errors = [
        known(features(wobble(frames, s, np.random.default_rng(1)))["warping_error"])
        for s in (0.2, 0.8, 2.0)
    ]
    assert known(features(frames)["warping_error"]) < errors[0] < errors[1] < errors[2]


def test_a_repeated_frame_says_nothing_about_shape() -> None:
    found = features(render(Scene(frames=1)).repeat(6, axis=0))
    assert found["warping_error"] is None
    assert found["interpolation_error"] == 0.0


def test_two_frames_have_no_neighbours_on_both_sides() -> None:
    found = features(render(Scene(frames=2, pan_px=(1.0, 0.0))))
    assert found["interpolation_error"] is None
    assert found["motion_jerk_px"] is None
    assert found["warping_error"] is not None
