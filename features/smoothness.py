"""Smoothness: whether each frame lies where its neighbours say, and whether things keep their
shape.
"""

import cv2
import numpy as np
import numpy.typing as npt

from features.feature import Feature, Findings, Image, Picture, Step, Timeline, on_later_frame
from features.flow import Array, DenseFlow, warp
from features.series import mean

_SPARSE = 2  # flows are compared over time on every second pixel: acceleration is a smooth field
# Sundaram, Brox and Keutzer, ECCV 2010, equation 5: forward and backward flow must agree this well.
_AGREE_SHARE, _AGREE_PX2 = 0.01, 0.5
_FLAT_SLOPE = 1.0  # grey levels squared per pixel: a flatter picture shows no displacement
_STILL_SHARE = 1e-4  # of the diagonal per frame: below it there is no motion to be jerky


class Smoothness:
    """Errors of prediction along the flow, and the flow's own change over time."""

    features = (
        Feature(
            "interpolation_error",
            "0..1",
            "lower",
            "mean absolute difference between a frame and the one interpolated from both "
            "neighbours along"
            "half their flow, over 255",
            "VBench motion_smoothness (Huang et al., CVPR 2024), with DIS flow in the place of AMT",
        ),
        Feature(
            "motion_jerk_px",
            "px/frame^3",
            "lower",
            "mean length of the second difference of the flow over time",
            "third derivative of position; Flash and Hogan, J. Neuroscience 1985",
        ),
        Feature(
            "motion_jerk_ratio",
            "ratio",
            "lower",
            "jerk over speed: about 0.2 for steady motion, 4 where every second frame is a repeat; "
            "null where nothing moves",
            "Flash and Hogan, J. Neuroscience 1985, made dimensionless",
        ),
        Feature(
            "warping_error",
            "0..1",
            "lower",
            "mean squared difference between a frame and the next one brought back along the flow, "
            "luma in 0..1,"
            "occluded pixels and repeated frames left out",
            "Lai et al., Learning blind video temporal consistency, ECCV 2018",
        ),
        Feature(
            "warping_error_pct_diagonal",
            "% of diagonal",
            "lower",
            "the displacement that would explain the warping error: its root over that of the "
            "squared gradient."
            "Unlike the error itself it does not fall when the picture is blurred",
            "Lai et al., ECCV 2018, divided by the luma gradient (this project)",
        ),
    )

    def __init__(self) -> None:
        self._flow = DenseFlow()
        self._last: Picture | None = None
        self._flows: list[Array] = []
        self._predicted: list[float] = []
        self._jerk: list[float] = []
        self._speed: list[float] = []
        self._warped: list[tuple[float, float]] = []

    def picture(self, picture: Picture) -> None:
        """Nothing to do: prediction needs neighbours."""

    def step(self, step: Step) -> None:
        """Predict the middle of the last three frames; bring the later one back onto the
        earlier.
        """
        before, middle, after = self._last, step.before, step.after
        self._predicted.append(
            np.nan
            if before is None
            else self._prediction_error(before.coarse, middle.coarse, after.coarse)
        )
        flow = step.flow.vectors[::_SPARSE, ::_SPARSE] * np.float32(step.scale)
        self._flows = [*self._flows[-2:], flow]
        self._speed.append(float(np.sqrt(_square(flow)).mean()))
        self._jerk.append(_jerk(self._flows))
        self._warped.append(self._warping_error(step))
        self._last = middle

    def finish(self, timeline: Timeline) -> Findings:
        """Means within scenes: a value that looks across a cut is left out."""
        predicted = timeline.within_scenes(self._predicted)
        jerk = timeline.within_scenes(self._jerk)
        for back in (1, 2):
            jerk[back:][timeline.cut[:-back]] = np.nan
        predicted[1:][timeline.cut[:-1]] = np.nan
        table = np.asarray(self._warped, np.float64).reshape(-1, 2)
        table[timeline.cut | timeline.repeated] = np.nan
        warped, astray = table[:, 0], 100 * table[:, 1] / timeline.diagonal_px
        speed = mean(timeline.within_scenes(self._speed))
        jerk_px = mean(jerk)
        moving = speed is not None and speed > _STILL_SHARE * timeline.diagonal_px
        return Findings(
            {
                "interpolation_error": mean(predicted),
                "motion_jerk_px": jerk_px,
                "motion_jerk_ratio": jerk_px / speed
                if jerk_px is not None and speed and moving
                else None,
                "warping_error": mean(warped),
                "warping_error_pct_diagonal": mean(astray),
            },
            {
                "interpolation_error": np.concatenate([predicted, [np.nan]]),
                "motion_jerk_px": on_later_frame(jerk),
                "warping_error": on_later_frame(warped),
                "warping_error_pct_diagonal": on_later_frame(astray),
            },
        )

    def _prediction_error(self, before: Image, middle: Image, after: Image) -> float:
        flow = self._flow(before, after)
        forward, backward = warp(before, flow, share=-0.5), warp(after, flow, share=0.5)
        predicted = cv2.addWeighted(forward, 0.5, backward, 0.5, 0.0)
        return cv2.norm(predicted, middle, cv2.NORM_L1) / (255.0 * middle.size)

    def _warping_error(self, step: Step) -> tuple[float, float]:
        """Mean squared residual on [0, 1] and the displacement in pixels that would explain it."""
        if step.same:  # says nothing about how things are drawn anew
            return np.nan, np.nan
        seen = self._seen_in_both(step)
        if not seen.any():
            return np.nan, np.nan
        square = float(np.mean(step.flow.change.astype(np.float32) ** 2, where=seen))
        across, down = cv2.spatialGradient(step.before.coarse)
        slope = cv2.norm(across, cv2.NORM_L2SQR) + cv2.norm(down, cv2.NORM_L2SQR)
        slope /= 64.0 * across.size  # Sobel's weights add up to 8
        astray = step.scale * float(np.sqrt(square / max(slope, _FLAT_SLOPE)))
        return square / 255.0**2, astray

    def _seen_in_both(self, step: Step) -> npt.NDArray[np.bool_]:
        """Pixels whose forward and backward flows agree, so that they were not covered
        meanwhile.
        """
        ahead = step.flow.vectors
        there = warp(self._flow(step.after.coarse, step.before.coarse), ahead)
        allowed = _AGREE_SHARE * (_square(ahead) + _square(there)) + _AGREE_PX2
        return np.asarray(_square(there + ahead) <= allowed)


def _jerk(flows: list[Array]) -> float:
    """Mean length of the second difference of the last three flows; NaN before there are three."""
    if len(flows) < 3:
        return float("nan")
    first, second, third = flows
    bend = first - 2 * second + third
    return float(np.sqrt(_square(bend)).mean())


def _square(vectors: Array) -> Array:
    return np.asarray(vectors[..., 0] ** 2 + vectors[..., 1] ** 2)
