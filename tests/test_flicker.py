"""Flicker against its definition and against gains that we put in ourselves."""

from pathlib import Path

import numpy as np
import pytest

from features.clip import Clip
from features.degrade import flicker
from features.encode import write_clip
from features.measure import Measurement, measure
from features.synthetic import Scene, render
from tests.numbers import known

SCENE = Scene(frames=40, pan_px=(1.5, 0.5))


def measured(frames: np.ndarray, *, fps: float = 24.0) -> Measurement:
    return measure(Clip.from_frames(frames, fps=fps))


@pytest.mark.parametrize("sigma", [0.01, 0.03, 0.1])
def test_a_random_gain_is_found_with_its_size(sigma: float) -> None:
    frames = flicker(render(SCENE), sigma, np.random.default_rng(5))
    assert measured(frames).features["flicker_luma"] == pytest.approx(sigma, rel=0.2)


def test_a_fade_is_no_flicker() -> None:
    fade = np.linspace(1.0, 0.5, SCENE.frames)[:, None, None, None]
    frames = (render(SCENE) * fade).astype(np.uint8)
    assert known(measured(frames).features["flicker_luma"]) < 0.005


def test_a_patch_that_blinks_is_local_and_not_global() -> None:
    steady = render(SCENE)
    blinking = steady.copy()
    blinking[::2, 100:160, 120:200] //= 2
    before, after = measured(steady).features, measured(blinking).features
    assert known(after["flicker_local"]) > 5 * known(before["flicker_local"])
    assert known(after["flicker_luma"]) < 0.03


def test_temporal_flickering_is_vbenchs_definition(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    write_clip(path, render(SCENE), fps=8)
    with Clip.open(path).stream() as stream:
        frames = np.stack([f.rgb for f in stream]).astype(np.float64)
    mae = np.abs(frames[1:] - frames[:-1]).mean(axis=(1, 2, 3)).mean()
    expected = (255.0 - mae) / 255.0
    assert measure(path).features["temporal_flickering"] == pytest.approx(expected, abs=1e-6)


def test_temporal_flickering_of_a_clip_that_others_measured(shared: Path) -> None:
    # VBench's own implementation on this file: ../shared/labels/FastVideo_eval
    found = measure(shared / "videos" / "ltx2_backyard.mp4").features["temporal_flickering"]
    assert found == pytest.approx(0.979452, abs=1e-4)


def test_a_cut_is_no_flicker() -> None:
    other = np.clip(render(Scene(frames=20, seed=7)).astype(int) + 60, 0, 255).astype(np.uint8)
    spliced = np.concatenate([render(Scene(frames=20)), other])
    features = measured(spliced).features
    assert features["cuts"] == 1
    assert known(features["flicker_luma"]) < 0.002


def test_two_frames_are_too_few_to_flicker() -> None:
    features = measured(render(Scene(frames=2, pan_px=(1, 0)))).features
    assert features["flicker_luma"] is None
    assert features["flicker_local"] is None
    assert features["temporal_flickering"] is not None
