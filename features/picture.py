"""The single picture: sharpness, blocks, noise, contrast, exposure, colour. Measured twice a
second.
"""

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

from features.feature import Feature, Findings, Image, Step, Timeline
from features.feature import Picture as Frame
from features.series import mean

_WHITE, _BLACK = 250, 5  # video black and white survive coding within five grey levels
# A block's mean of 64 absolute values of a Gaussian is 0.798 +- 0.075 of its deviation; the
# twentieth from below: 0.674.
_SMOOTHEST, _SMOOTHEST_MEAN = 0.05, 0.674
_SPARSE = 4  # statistics of levels and colours are taken on every fourth pixel of each axis


class Picture:
    """Still-picture features, averaged over the detailed frames."""

    features = (
        Feature(
            "sharpness",
            "0..1",
            "higher",
            "1 minus the share of local variation that survives blurring once more",
            "Crete, Dolmiere, Ladret and Nicolas, The blur effect, SPIE 6492, 2007",
        ),
        Feature(
            "blockiness",
            "ratio",
            "lower",
            "excess of luma steps across the 8 x 8 coding grid over those beside it; 0 without "
            "blocks",
            "Wang, Sheikh and Bovik, ICIP 2002",
        ),
        Feature(
            "noise",
            "grey levels",
            "lower",
            "standard deviation of white noise, from the diagonal detail of the smoothest places",
            "Donoho and Johnstone, Biometrika 1994; Immerkaer, CVIU 1996",
        ),
        Feature(
            "contrast",
            "0..1",
            "higher",
            "standard deviation of luma over 255",
            "Peli, JOSA A 1990 (RMS contrast)",
        ),
        Feature("luma", "0..1", "neither", "mean luma over 255", "Rec. ITU-R BT.601 luma"),
        Feature(
            "clipped_bright_share",
            "0..1",
            "lower",
            "share of pixels with luma of 250 and above",
            "histogram",
        ),
        Feature(
            "clipped_dark_share",
            "0..1",
            "lower",
            "share of pixels with luma of 5 and below",
            "histogram",
        ),
        Feature(
            "colorfulness",
            "index",
            "neither",
            "0 for grey, 15 slightly, 45 quite, 80 highly colourful",
            "Hasler and Suesstrunk, SPIE 5007, 2003",
        ),
    )

    def __init__(self) -> None:
        self._rows: list[list[float]] = []

    def picture(self, picture: Frame) -> None:
        """Measure a detailed frame; leave the others blank in the curves."""
        blank = [float("nan")] * len(_MEASURES)
        self._rows.append(_measured(picture) if picture.detailed else blank)

    def step(self, step: Step) -> None:
        """Nothing to do: these features look at one picture."""

    def finish(self, timeline: Timeline) -> Findings:
        """Means over the detailed frames."""
        table = np.asarray(self._rows, np.float64)
        curves = {name: table[:, k] for k, name in enumerate(_MEASURES)}
        return Findings({name: mean(curve) for name, curve in curves.items()}, curves)


def sharpness(luma: Image) -> float:
    """1 - blur effect of (H, W) uint8 luma, the blurrier direction; 0 for a flat picture.

    Taken on the picture smoothed by a Gaussian of one pixel: noise would count as sharpness, and
    hardly does after that, while the order of blurred pictures stays.
    """
    smooth = cv2.GaussianBlur(luma, (5, 5), 1.0)
    return 1.0 - max(_blur_effect(smooth, axis) for axis in (0, 1))


def _blur_effect(luma: Image, axis: int) -> float:
    kernel = (1, 9) if axis == 0 else (9, 1)
    blurred = cv2.blur(luma, kernel)
    one, two = (slice(1, None), slice(None, -1))
    ahead, back = (
        ((one, slice(None)), (two, slice(None)))
        if axis == 0
        else ((slice(None), one), (slice(None), two))
    )
    sharp = cv2.absdiff(luma[ahead], luma[back])
    left = cv2.subtract(
        sharp, cv2.absdiff(blurred[ahead], blurred[back])
    )  # saturates at 0, as it should
    total = cv2.sumElems(sharp)[0]
    return 1.0 - cv2.sumElems(left)[0] / total if total else 1.0


def blockiness(luma: Image) -> float:
    """Mean luma step on the borders of the 8 x 8 grid over that one pixel to either side, minus
    1, both axes.
    """
    ratios = [_grid_excess(luma, axis) for axis in (0, 1)]
    return float(np.mean(ratios))


def _grid_excess(luma: Image, axis: int) -> float:
    pixels = luma if axis == 1 else cv2.transpose(luma)
    if pixels.shape[1] < 24:
        return float("nan")
    steps = cv2.reduce(
        cv2.absdiff(pixels[:, 1:], pixels[:, :-1]), 0, cv2.REDUCE_AVG, dtype=cv2.CV_64F
    )[0]
    # The grid begins at the first pixel, or at the last one in a picture that was turned after
    # coding.
    return max(_excess(steps), _excess(steps[::-1]))


def _excess(steps: npt.NDArray[np.float64]) -> float:
    border = steps[7::8]
    beside = np.concatenate([steps[6::8], steps[8::8]])
    return float(border.mean() / max(beside.mean(), 0.05) - 1.0)


def noise(luma: Image) -> float:
    """Standard deviation of white noise in grey levels, from the diagonal detail of the smoothest
    places.

    Detail (a - b - c + d) / 2 of 2 x 2 pixels keeps the deviation of white noise and drops slopes;
    noise is everywhere and texture is not, so the smoothest twentieth of the 16 x 16 blocks tells
    them apart. NaN below 32 x 32 pixels.
    """
    height, width = (n // 2 * 2 for n in luma.shape)
    if min(height, width) < 32:
        return float("nan")
    p = luma[:height, :width].astype(np.int16)
    detail = np.abs(p[::2, ::2] - p[::2, 1::2] - p[1::2, ::2] + p[1::2, 1::2]).astype(np.float32)
    blocks = cv2.resize(detail, (width // 16, height // 16), interpolation=cv2.INTER_AREA) / 2
    return float(np.quantile(blocks, _SMOOTHEST)) / _SMOOTHEST_MEAN


def colorfulness(rgb: Image) -> float:
    """Hasler and Suesstrunk's M3 of (H, W, 3) uint8 RGB."""
    r, g, b = (rgb[..., k].astype(np.float32) for k in range(3))
    rg, yb = r - g, 0.5 * (r + g) - b
    return float(np.hypot(rg.std(), yb.std()) + 0.3 * np.hypot(rg.mean(), yb.mean()))


def _measured(picture: Frame) -> list[float]:
    """All measures of one frame, laid out as `turns` says so that a rotated copy gives the same."""
    luma = np.ascontiguousarray(np.rot90(picture.luma, picture.turns))
    rgb = np.rot90(picture.rgb, picture.turns)[::_SPARSE, ::_SPARSE]
    return [measure(luma, rgb) for measure in _MEASURES.values()]


def _sparse(luma: Image) -> Image:
    return luma[::_SPARSE, ::_SPARSE]


_MEASURES: dict[str, Callable[[Image, Image], float]] = {
    "sharpness": lambda luma, rgb: sharpness(luma),
    "blockiness": lambda luma, rgb: blockiness(luma),
    "noise": lambda luma, rgb: noise(luma),
    "contrast": lambda luma, rgb: float(_sparse(luma).std()) / 255.0,
    "luma": lambda luma, rgb: float(_sparse(luma).mean()) / 255.0,
    "clipped_bright_share": lambda luma, rgb: float((_sparse(luma) >= _WHITE).mean()),
    "clipped_dark_share": lambda luma, rgb: float((_sparse(luma) <= _BLACK).mean()),
    "colorfulness": lambda luma, rgb: colorfulness(rgb),
}
