"""Still-picture features against pictures whose answer is known by construction."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.picture import blockiness, colorfulness, noise, sharpness
from features.synthetic import texture

PICTURE = texture(240, 320, seed=4)
LUMA = cv2.cvtColor(PICTURE, cv2.COLOR_RGB2GRAY)


def test_sharpness_falls_with_every_blur() -> None:
    found = [
        sharpness(LUMA),
        *(sharpness(cv2.GaussianBlur(LUMA, (0, 0), s)) for s in (0.7, 1.5, 3, 6)),
    ]
    assert found == sorted(found, reverse=True)
    assert 0 <= found[-1] < found[0] <= 1


def test_a_flat_picture_has_no_sharpness_no_noise_and_no_blocks() -> None:
    flat = np.full((64, 64), 128, np.uint8)
    assert sharpness(flat) == 0.0
    assert noise(flat) == 0.0
    assert blockiness(flat) == -1.0 or abs(blockiness(flat)) < 1e-9


@pytest.mark.parametrize("sigma", [2.0, 5.0, 12.0])
def test_white_noise_on_a_smooth_picture_is_found_with_its_size(sigma: float) -> None:
    smooth = np.tile(np.linspace(60, 180, 320), (240, 1))
    noisy = smooth + sigma * np.random.default_rng(0).standard_normal(smooth.shape)
    found = noise(np.clip(np.rint(noisy), 0, 255).astype(np.uint8))
    assert found == pytest.approx(sigma, rel=0.12)


def test_blocks_of_eight_are_seen_and_blocks_of_seven_are_not() -> None:
    def mosaic(side: int) -> np.ndarray:
        small = cv2.resize(LUMA, (320 // side, 240 // side), interpolation=cv2.INTER_AREA)
        return np.asarray(small.repeat(side, 0).repeat(side, 1))

    assert blockiness(mosaic(8)) > 5
    assert abs(blockiness(mosaic(7))) < 0.5
    assert abs(blockiness(LUMA)) < 0.1


def test_blockiness_rises_with_jpeg_compression() -> None:
    def coded(quality: int) -> np.ndarray:
        _, data = cv2.imencode(".jpg", LUMA, [cv2.IMWRITE_JPEG_QUALITY, quality])
        return np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE))

    found = [blockiness(coded(quality)) for quality in (95, 50, 25, 10)]
    assert found == sorted(found)


def test_colorfulness_is_hasler_and_suesstrunks_formula() -> None:
    r, g, b = (PICTURE[..., k].astype(np.float64) for k in range(3))
    rg, yb = r - g, (r + g) / 2 - b
    expected = np.sqrt(rg.var() + yb.var()) + 0.3 * np.sqrt(rg.mean() ** 2 + yb.mean() ** 2)
    assert colorfulness(PICTURE) == pytest.approx(expected, rel=1e-4)


@given(st.integers(0, 255))
def test_grey_has_no_colour(level: int) -> None:
    assert colorfulness(np.full((4, 4, 3), level, np.uint8)) == 0.0
