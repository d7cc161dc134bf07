"""Motion and stability against clips that move by known amounts."""

import json
from pathlib import Path

import numpy as np
import pytest

from features.clip import Clip
from features.feature import Timeline
from features.measure import measure
from features.stability import Stability
from features.synthetic import Scene, render
from tests.numbers import known

Features = dict[str, float | None]


def measured(scene: Scene, *, fps: float = 24.0) -> Features:
    return measure(Clip.from_frames(render(scene), fps=fps)).features


def shaking(amplitude_px: float, hertz: float, *, frames: int = 48, fps: float = 24.0) -> Features:
    canvas = render(Scene(width=400, height=320, frames=1))[0]
    offsets = amplitude_px * np.sin(2 * np.pi * hertz * np.arange(frames) / fps)
    return measure(Clip.from_frames(_windows(canvas, offsets), fps=fps)).features


def _windows(canvas: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    import cv2

    size = (320, 240)
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    moves = [np.array([[1.0, 0, 40 - x], [0, 1.0, 40]]) for x in offsets]
    return np.stack([cv2.warpAffine(canvas, m, size, flags=flags) for m in moves])


@pytest.mark.parametrize("speed", [0.5, 1.0, 4.0, 10.0])
def test_speed_of_a_pan_is_its_speed(speed: float) -> None:
    features = measured(Scene(pan_px=(speed, 0.0), frames=12))
    assert features["motion_speed_px"] == pytest.approx(speed, rel=0.02, abs=0.02)
    assert features["camera_speed_px"] == pytest.approx(speed, rel=0.02, abs=0.02)
    assert features["object_speed_px"] == pytest.approx(0.0, abs=0.03)
    assert features["motion_moving_share"] == pytest.approx(1.0, abs=0.02)


def test_a_still_scene_does_not_move_and_says_so_with_zeros() -> None:
    features = measured(Scene(frames=6))
    assert features["motion_speed_px"] == 0.0
    assert features["dynamic_degree"] == 0.0
    assert features["jitter_px"] == 0.0
    assert features["motion_jerk_ratio"] is None  # no motion that could be jerky


def test_an_object_moves_and_the_camera_does_not() -> None:
    features = measured(Scene(disc_px=(5.0, 0.0), disc_radius=40, frames=16))
    share = np.pi * 40**2 / (320 * 240)
    assert features["camera_speed_px"] == pytest.approx(0.0, abs=0.03)
    assert features["object_speed_px"] == pytest.approx(5 * share, rel=0.1)
    assert features["object_moving_share"] == pytest.approx(share, rel=0.3)


def test_camera_and_object_are_told_apart_when_both_move() -> None:
    features = measured(Scene(pan_px=(-3.0, 0.0), disc_px=(3.0, 0.0), disc_radius=40, frames=16))
    share = np.pi * 40**2 / (320 * 240)
    assert features["camera_speed_px"] == pytest.approx(3.0, rel=0.02)
    assert features["object_speed_px"] == pytest.approx(6 * share, rel=0.15)


def test_speed_relative_to_size_and_time_does_not_change_with_either() -> None:
    small = measured(Scene(320, 240, 12, pan_px=(2.0, 0.0)), fps=24)
    large = measured(Scene(640, 480, 12, pan_px=(4.0, 0.0)), fps=24)
    slow = measured(Scene(320, 240, 12, pan_px=(6.0, 0.0)), fps=8)
    key = "motion_speed_pct_diagonal_s"
    assert large[key] == pytest.approx(small[key], rel=0.02)
    assert slow[key] == pytest.approx(small[key], rel=0.02)


@pytest.mark.parametrize(("amplitude", "hertz"), [(2.0, 3.0), (6.0, 3.0), (1.0, 6.0), (3.0, 8.0)])
def test_shake_amplitude_is_found_within_fifteen_per_cent(amplitude: float, hertz: float) -> None:
    features = shaking(amplitude, hertz)
    assert features["shake_amplitude_px"] == pytest.approx(amplitude, rel=0.15)
    assert features["jitter_px"] == pytest.approx(amplitude / np.sqrt(2), rel=0.15)
    assert features["jitter_pct_diagonal"] == pytest.approx(
        known(features["jitter_px"]) / 4.0
    )  # 320 x 240


def test_a_smooth_pan_does_not_shake() -> None:
    assert known(measured(Scene(pan_px=(3.0, 1.0)))["jitter_px"]) < 0.02


def test_travel_is_what_the_camera_means_to_do() -> None:
    pan = measured(Scene(pan_px=(2.0, 0.0)))["camera_travel_pct_diagonal_s"]
    assert pan == pytest.approx(100 * 2 * 24 / 400, rel=0.02)
    assert known(shaking(3.0, 8.0)["camera_travel_pct_diagonal_s"]) < 0.05 * known(pan)


def test_a_repeated_frame_in_a_pan_is_no_shake() -> None:
    frames = render(Scene(pan_px=(3.0, 0.0), frames=30))
    held = frames[[i if i % 7 else max(i - 1, 0) for i in range(30)]]
    features = measure(Clip.from_frames(held, fps=24)).features
    assert known(features["repeated_share"]) > 0.1
    assert known(features["jitter_px"]) < 0.05


def test_at_two_frames_per_second_shake_is_unknown() -> None:
    features = measured(Scene(pan_px=(3.0, 0.0), frames=12), fps=2)
    assert features["jitter_px"] is None
    assert features["camera_travel_pct_diagonal_s"] is not None


def test_frames_of_one_moment_have_no_speed_per_second() -> None:
    timeline = Timeline(
        np.zeros(2), 320, 240, cut=np.zeros(1, np.bool_), repeated=np.zeros(1, np.bool_)
    )
    meter = Stability()
    meter._steps = [(1.0, 0.0, 0.0, 0.0)]
    assert meter.finish(timeline).features["camera_travel_pct_diagonal_s"] is None


def test_the_camera_path_is_given_as_the_clip_is_shown(tmp_path: Path) -> None:
    from features.encode import write_clip

    frames = render(Scene(pan_px=(3.0, 0.0), frames=10))
    upright, turned = tmp_path / "a.mp4", tmp_path / "b.mp4"
    write_clip(upright, frames, fps=24)
    write_clip(turned, np.rot90(frames, -1, axes=(1, 2)), fps=24, rotation=90)
    for path in (upright, turned):
        curves = measure(path).curves
        assert curves["camera_x_px"][-1] == pytest.approx(27, abs=0.5)
        assert curves["camera_y_px"][-1] == pytest.approx(0, abs=0.5)


def truths() -> list[str]:
    index = Path(__file__).parents[2] / "shared" / "motion_truth" / "index.json"
    return [clip["file"] for clip in json.loads(index.read_text())] if index.exists() else []


@pytest.mark.parametrize("file", truths())
def test_motion_truth(shared: Path, file: str) -> None:
    folder = shared / "motion_truth"
    truth = next(c for c in json.loads((folder / "index.json").read_text()) if c["file"] == file)
    features = measure(folder / file).features
    speed = truth["mean_flow_mag_all_pixels"]
    assert features["motion_speed_px"] == pytest.approx(speed, rel=0.05, abs=0.1)
    camera = truth["mean_flow_mag_over_clip"]
    assert features["camera_speed_px"] == pytest.approx(camera, rel=0.05, abs=0.02)
    if truth["kind"] == "sinusoidal_shake":
        assert features["shake_amplitude_px"] == pytest.approx(truth["amplitude_x_px"], rel=0.15)
