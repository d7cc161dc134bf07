"""The single picture: sharpness, blocks, noise, contrast, exposure, colour."""

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

from features.feature import Feature, Findings, Image, Step, Timeline
from features.feature import Picture as Frame
from features.series import mean

_WHITE, _BLACK = 250, 5  # video black and white survive coding within five grey levels
# Share of the blocks that noise is measured in, and the power that pure noise has in them: the mean
# of 192 squares scatters by a tenth, the lowest twentieth lies two tenths below.
_CALMEST, _CALMEST_POWER = 0.05, 0.79
_DIAGONAL = 0.25  # power of texture on the diagonal over that of the weaker straight direction
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
            "standard deviation of white noise, told from texture by its power on the diagonal",
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
        """Take the details of a frame that has them; leave the others blank in the curves."""
        blank = [float("nan")] * len(_MEASURES)
        self._rows.append(picture.details or blank)

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
    every = max(2, min(luma.shape) // 240)  # some 240 lines each way are plenty
    lines = (smooth[::every], np.ascontiguousarray(smooth[:, ::every].T))
    return 1.0 - max(_blur_effect(line) for line in lines)


def _blur_effect(lines: Image) -> float:
    """Along the rows: share of the steps between neighbours that a second blur leaves over."""
    steps = cv2.absdiff(lines[:, 1:], lines[:, :-1])
    blurred = cv2.blur(lines, (9, 1))
    blurred_steps = cv2.absdiff(blurred[:, 1:], blurred[:, :-1])
    lost = cv2.subtract(steps, blurred_steps)  # saturates at 0, as it should
    total = cv2.sumElems(steps)[0]
    return float(1.0 - cv2.sumElems(lost)[0] / total) if total else 1.0


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
    """Standard deviation of white noise in grey levels.

    Of 2 x 2 pixels a, b, c, d the diagonal detail (a - b - c + d) / 2 holds noise and some texture,
    the weaker of the horizontal and vertical ones the same noise and at least twice the texture:
    pictures have little of their power on the diagonal, white noise as much as elsewhere. Solved
    for the noise, in the calmest twentieth of the 16 x 16 blocks. NaN below 32 x 32 pixels.
    """
    height, width = (n // 2 * 2 for n in luma.shape)
    if min(height, width) < 32:
        return float("nan")
    top, bottom = (luma[k:height:2, :width] for k in (0, 1))
    down, across = (f(top, bottom, dtype=cv2.CV_16S) for f in (cv2.subtract, cv2.add))
    blocks = [
        cv2.resize(np.float32(0.25) * band.astype(np.float32) ** 2, (width // 16, height // 16),
                   interpolation=cv2.INTER_AREA)
        for band in (down[:, ::2] - down[:, 1::2], down[:, ::2] + down[:, 1::2],
                     across[:, ::2] - across[:, 1::2])
    ]  # fmt: skip
    energy = blocks[0] + blocks[1] + blocks[2]
    calm = energy <= np.quantile(energy, _CALMEST)
    diagonal = float(np.median(blocks[0][calm]))
    straight = float(np.median(np.minimum(blocks[1], blocks[2])[calm]))
    power = max(0.0, (diagonal - _DIAGONAL * straight) / (1 - _DIAGONAL))
    return float(np.sqrt(power / _CALMEST_POWER))


def colorfulness(rgb: Image) -> float:
    """Hasler and Suesstrunk's M3 of (H, W, 3) uint8 RGB."""
    r, g, b = (rgb[..., k].astype(np.float32) for k in range(3))
    rg, yb = r - g, 0.5 * (r + g) - b
    return float(np.hypot(rg.std(), yb.std()) + 0.3 * np.hypot(rg.mean(), yb.mean()))


def details(luma: Image, rgb: Image, turns: int) -> list[float]:
    """All measures of one frame, laid out as `turns` says so that a rotated copy gives the same."""
    luma = np.ascontiguousarray(np.rot90(luma, turns))
    rgb = np.rot90(rgb, turns)[::_SPARSE, ::_SPARSE]
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
