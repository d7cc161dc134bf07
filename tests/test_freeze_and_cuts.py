"""Repeated frames, stalls and cuts where we put them."""

from pathlib import Path

import numpy as np
import pytest

from features.clip import Clip
from features.degrade import freeze, jitter, stall
from features.encode import write_clip
from features.measure import Measurement, measure
from features.synthetic import Scene, render
from tests.numbers import known

MOVING = Scene(frames=48, pan_px=(1.0, 0.4), disc_px=(2.0, 0.0), disc_radius=20)


def encoded(folder: Path, frames: np.ndarray, *, crf: int = 18) -> Measurement:
    return measure(write_clip(folder / "clip.mp4", frames, fps=24, crf=crf))


@pytest.mark.parametrize("crf", [10, 23, 30])
def test_frozen_frames_survive_encoding(tmp_path: Path, crf: int) -> None:
    frames = freeze(render(MOVING), 0.25, np.random.default_rng(2))
    found = encoded(tmp_path, frames, crf=crf)
    assert found.features["repeated_share"] == pytest.approx(12 / 47, abs=0.03)


def test_a_stall_is_one_interval_at_its_place(tmp_path: Path) -> None:
    frames = render(MOVING)
    frames[13:25] = frames[12]
    found = encoded(tmp_path, frames)
    assert found.intervals["freeze"] == [pytest.approx((12 / 24, 24 / 24), abs=1e-3)]
    assert found.features["freeze_longest_s"] == pytest.approx(0.5, abs=1e-3)
    assert found.features["freeze_share"] == pytest.approx(12 / 47, abs=1e-3)


def test_a_short_stop_is_a_dropped_frame_and_no_stall(tmp_path: Path) -> None:
    frames = render(MOVING)
    frames[20] = frames[19]
    found = encoded(tmp_path, frames)
    assert found.features["freeze_share"] == 0.0
    assert found.features["repeated_share"] == pytest.approx(1 / 47, abs=1e-6)


def test_slow_motion_of_a_small_thing_is_no_freeze(tmp_path: Path) -> None:
    scene = Scene(frames=24, disc_px=(0.5, 0.0), disc_radius=12)
    assert encoded(tmp_path, render(scene)).features["repeated_share"] == 0.0


def test_a_clip_of_one_picture_is_all_repeats() -> None:
    found = measure(Clip.from_frames(render(Scene(frames=1)).repeat(12, axis=0), fps=8))
    assert found.features["repeated_share"] == 1.0
    assert found.features["freeze_longest_s"] == pytest.approx(11 / 8)


def test_stall_of_the_ladder_is_monotone() -> None:
    frames = render(MOVING)
    longest = [
        measure(Clip.from_frames(stall(frames, share, np.random.default_rng(0)), fps=24)).features[
            "freeze_longest_s"
        ]
        for share in (0.1, 0.25, 0.5)
    ]
    assert longest == [
        pytest.approx(round(48 * share) / 24, abs=1e-6) for share in (0.1, 0.25, 0.5)
    ]


def test_cuts_are_found_at_their_frames(tmp_path: Path) -> None:
    shots = [render(Scene(frames=16, pan_px=(2.0, 0.0), seed=seed)) for seed in (3, 14, 25)]
    found = encoded(tmp_path, np.concatenate(shots))
    assert [round(start * 24) for start, _ in found.intervals["cuts"]] == [16, 32]


def test_shake_and_flicker_are_no_cuts() -> None:
    rng = np.random.default_rng(0)
    frames = render(MOVING)
    shaken = jitter(frames, 2.5, rng)
    blinking = frames.copy()
    blinking[::3] //= 2
    for clip in (shaken, blinking):
        assert measure(Clip.from_frames(clip, fps=24)).features["cuts"] == 0


@pytest.mark.parametrize(
    ("name", "cuts"),
    [
        ("cam_bikes_cuts.mp4", 5),
        ("film_tears_vp9.webm", 1),
        ("film_chaplin_flicker.mp4", 0),
        ("cam_train_passing.mp4", 0),
    ],
)
def test_cuts_of_real_clips(shared: Path, name: str, cuts: int) -> None:
    assert measure(shared / "videos" / name).features["cuts"] == cuts


@pytest.mark.parametrize(
    "name", ["magi_prefix_boy_444.mp4", "cam_asl_again.mkv", "aigve_cogvideox_0.mp4"]
)
def test_almost_still_clips_are_not_frozen(shared: Path, name: str) -> None:
    assert known(measure(shared / "videos" / name).features["repeated_share"]) < 0.05
