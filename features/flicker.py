"""Flicker: light that changes from frame to frame while the scene does not."""

import cv2
import numpy as np

from features.feature import Feature, Findings, Picture, Step, Timeline, on_later_frame
from features.series import Curve, mean, rms, second_difference_noise

_NOISE = "pseudo-residuals of a series (Gasser, Sroka and Jennen-Steinmetz, Biometrika 1986)"
_BLOCKS = (12, 16)  # rows, columns of the lattice on which local light is followed
_DARK = 8.0  # grey levels: below this a relative change of light means nothing


class Flicker:
    """Global and local change of light, and VBench's mean absolute difference."""

    features = (
        Feature(
            "flicker_luma",
            "relative",
            "lower",
            "frame-to-frame noise of the mean luminance relative to it: 0.02 is what a random "
            "gain of 2 % gives",
            _NOISE,
        ),
        Feature(
            "flicker_local",
            "relative",
            "lower",
            "the same on a lattice of 12 x 16 blocks that follow the motion, the global part "
            "taken away",
            _NOISE,
        ),
        Feature(
            "temporal_flickering",
            "0..1",
            "higher",
            "(255 - mean absolute difference of neighbouring RGB frames) / 255, motion included",
            "VBench temporal_flickering (Huang et al., CVPR 2024)",
        ),
    )

    def __init__(self) -> None:
        self._light: list[float] = []
        self._difference: list[float] = []
        self._local: list[float] = []
        self._blocks: Curve | None = None

    def picture(self, picture: Picture) -> None:
        """Note the mean luminance."""
        self._light.append(cv2.mean(picture.coarse)[0])

    def step(self, step: Step) -> None:
        """Compare neighbours pixel by pixel (VBench) and block by block along the motion."""
        self._difference.append(step.difference)
        light = np.maximum(_block_means(step.before.coarse), _DARK)
        change = _block_means(step.flow.change) / light
        change -= np.median(change)
        # The change from t to t + 1 less that from t - 1 to t: a second difference along the
        # motion.
        bend = (
            np.nan
            if self._blocks is None
            else float(np.sqrt(np.mean((change - self._blocks) ** 2) / 6))
        )
        self._local.append(bend)
        self._blocks = change

    def finish(self, timeline: Timeline) -> Findings:
        """Noise of light within scenes; VBench's number over all steps, cuts included, as it is
        defined.
        """
        light = self._light_noise(timeline)
        local = timeline.within_scenes(self._local)
        local[1:][timeline.cut[:-1]] = np.nan
        difference = np.asarray(self._difference)
        still = mean(difference)
        return Findings(
            {
                "flicker_luma": rms(light),
                "flicker_local": rms(local),
                "temporal_flickering": None if still is None else (255.0 - still) / 255.0,
            },
            {
                "luma_mean": np.asarray(self._light),
                "flicker_luma": light,
                "flicker_local": on_later_frame(local),
                "temporal_flickering": on_later_frame((255.0 - difference) / 255.0),
            },
        )

    def _light_noise(self, timeline: Timeline) -> Curve:
        noise = np.full(len(self._light), np.nan)
        logs = np.log(np.maximum(self._light, _DARK))
        for scene in timeline.scenes():
            frames = timeline.shown(scene)
            if len(frames) >= 3:
                noise[frames[1:-1]] = second_difference_noise(logs[frames])
        return noise


def _block_means(field: np.ndarray) -> Curve:
    rows, columns = _BLOCKS
    return np.asarray(cv2.resize(field, (columns, rows), interpolation=cv2.INTER_AREA), np.float64)
