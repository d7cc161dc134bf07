"""Sample clips and distortions do what they say."""

import numpy as np
import pytest

from features.degrade import LADDERS, degrade
from features.synthetic import Scene, render, texture


def test_a_whole_pixel_pan_is_an_exact_shift() -> None:
    frames = render(Scene(pan_px=(2.0, 0.0), frames=3)).astype(int)
    assert np.abs(frames[1][:, 2:] - frames[0][:, :-2]).max() <= 1


def test_the_same_scene_twice_is_the_same_clip_and_another_seed_another() -> None:
    assert np.array_equal(render(Scene(frames=2)), render(Scene(frames=2)))
    assert not np.array_equal(render(Scene(frames=2)), render(Scene(frames=2, seed=1)))


def test_texture_has_the_spectrum_of_natural_pictures() -> None:
    luma = texture(256, 256, seed=0).mean(axis=-1)
    power = np.abs(np.fft.fftshift(np.fft.fft2(luma - luma.mean()))) ** 2
    y, x = np.indices(power.shape) - 128
    radius = np.hypot(x, y).astype(int)
    spectrum = np.bincount(radius.ravel(), power.ravel()) / np.bincount(radius.ravel())
    slope = np.polyfit(np.log(np.arange(4, 32)), np.log(spectrum[4:32]), 1)[0]
    assert slope == pytest.approx(-2.0, abs=0.3)


@pytest.mark.parametrize("kind", LADDERS)
def test_ladders_keep_the_shape_grow_with_the_level_and_repeat(kind: str) -> None:
    frames = render(Scene(frames=12, pan_px=(2.0, 0.0)))
    levels = [degrade(frames, kind, level, seed=5) for level in (0, 1, 2, 3)]
    distance = [float(np.abs(level.astype(int) - frames).mean()) for level in levels]
    assert all(level.shape == frames.shape and level.dtype == np.uint8 for level in levels)
    assert distance[0] == 0 < distance[1] <= distance[2] <= distance[3]
    assert np.array_equal(levels[2], degrade(frames, kind, 2, seed=5))


def test_unknown_distortions_and_levels_are_errors() -> None:
    frames = render(Scene(frames=2))
    with pytest.raises(KeyError):
        degrade(frames, "sepia", 1)
    with pytest.raises(IndexError, match="level 4 of blur"):
        degrade(frames, "blur", 4)
