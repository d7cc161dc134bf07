"""Spatial and temporal information after ITU-T P.910, of every frame at full resolution."""

import cv2
import numpy as np

from features.feature import Feature, Findings, Image, Picture, Step, Timeline, on_later_frame
from features.series import mean

_SOURCE = "ITU-T P.910 (2008), 7.7; full-range luma as in ffmpeg's siti filter"
# Rows at a time: the gradients of a strip stay in the cache, which makes it three times as fast.
_STRIP = 96
# The mean square of the gradient is exact; its mean length needs a root per pixel and is taken on
# about this many rows, evenly spread, which moves SI by less than 0.5 % (the whole picture below
# twice as many).
_ROWS = 180


class Information:
    """SI: standard deviation of the Sobel-filtered luma. TI: standard deviation of the frame
    difference.
    """

    features = (
        Feature("spatial_information", "grey levels", "neither", "mean over frames of SI", _SOURCE),
        Feature(
            "spatial_information_max",
            "grey levels",
            "neither",
            "largest SI of any frame, P.910's figure",
            _SOURCE,
        ),
        Feature("temporal_information", "grey levels", "neither", "mean over steps of TI", _SOURCE),
        Feature(
            "temporal_information_max",
            "grey levels",
            "neither",
            "largest TI of any step, P.910's figure",
            _SOURCE,
        ),
    )

    def __init__(self) -> None:
        self._spatial: list[float] = []
        self._temporal: list[float] = []

    def picture(self, picture: Picture) -> None:
        """SI of one frame."""
        self._spatial.append(spatial_information(picture.luma))

    def step(self, step: Step) -> None:
        """TI of one step."""
        self._temporal.append(temporal_information(step.before.luma, step.after.luma))

    def finish(self, timeline: Timeline) -> Findings:
        """Mean and maximum over all frames, cuts included, as the recommendation has it."""
        spatial, temporal = np.asarray(self._spatial), np.asarray(self._temporal)
        seen = spatial[np.isfinite(spatial)]
        return Findings(
            {
                "spatial_information": mean(spatial),
                "spatial_information_max": float(seen.max()) if seen.size else None,
                "temporal_information": mean(temporal),
                "temporal_information_max": float(temporal.max()) if temporal.size else None,
            },
            {"spatial_information": spatial, "temporal_information": on_later_frame(temporal)},
        )


def spatial_information(luma: Image) -> float:
    """SI of one frame (H, W) uint8: population standard deviation of the Sobel magnitude off the
    border.

    NaN for a picture of fewer than 3 x 3 pixels.
    """
    height, width = luma.shape
    if min(height, width) < 3:
        return float("nan")
    every = max(1, height // _ROWS)
    total, square, seen = 0.0, 0.0, 0
    for top in range(0, height - 2, _STRIP):
        across, down = (g[1:-1, 1:-1] for g in cv2.spatialGradient(luma[top : top + _STRIP + 2]))
        square += cv2.norm(across, cv2.NORM_L2SQR) + cv2.norm(down, cv2.NORM_L2SQR)
        some = (g[every // 2 :: every].astype(np.float32) for g in (across, down))
        length = cv2.magnitude(*some)
        total += cv2.norm(length, cv2.NORM_L1)
        seen += length.size
    return _deviation(total / seen, square / ((height - 2) * (width - 2)))


def temporal_information(before: Image, after: Image) -> float:
    """TI of one step: population standard deviation of the luma difference, (H, W) uint8 each."""
    total = cv2.sumElems(after)[0] - cv2.sumElems(before)[0]
    square = cv2.norm(after, before, cv2.NORM_L2SQR)
    return _deviation(total / before.size, square / before.size)


def _deviation(mean_value: float, mean_square: float) -> float:
    return float(np.sqrt(max(mean_square - mean_value**2, 0.0)))
