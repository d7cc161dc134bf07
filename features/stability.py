"""Stability: how much the camera trembles around the path it was meant to take."""

import numpy as np

from features.feature import Feature, Findings, Picture, Step, Timeline
from features.flow import Camera
from features.series import Curve, rms, smooth

_SOURCE = (
    "camera path integrated from the global similarity, minus its slow part "
    "(local linear Gaussian of 0.2 s); cf. Liu et al., Bundled camera paths, SIGGRAPH 2013"
)
_FEWEST = 5  # frames of one scene: fewer have no high-frequency part to speak of
_SLOWEST_HZ = 4.0  # below this frame rate a shake cannot be told from a path


class Stability:
    """Jitter of the camera path: its part faster than about one hertz."""

    features = (
        Feature(
            "jitter_px",
            "px",
            "lower",
            "root mean square distance between the camera path and its slow part, both axes "
            "together",
            _SOURCE,
        ),
        Feature(
            "jitter_pct_diagonal",
            "% of diagonal",
            "lower",
            "the same relative to the diagonal",
            _SOURCE,
        ),
        Feature(
            "shake_amplitude_px",
            "px",
            "lower",
            "amplitude of the sinusoid that has the power of the shake along its strongest "
            "direction",
            _SOURCE,
        ),
        Feature(
            "camera_travel_pct_diagonal_s",
            "% of diagonal/s",
            "neither",
            "mean displacement of the picture along the slow part of the path: camera movement "
            "without the shake",
            _SOURCE,
        ),
        Feature(
            "jitter_roll_deg",
            "degrees",
            "lower",
            "root mean square of the fast part of the roll",
            _SOURCE,
        ),
    )

    def __init__(self) -> None:
        self._steps: list[tuple[float, float, float, float]] = []

    def picture(self, picture: Picture) -> None:
        """Nothing to do: the path is made of steps."""

    def step(self, step: Step) -> None:
        """Take the camera's shift in pixels of the clip, its roll in degrees and its zoom."""
        camera = step.flow.camera.scaled(step.scale)
        self._steps.append(
            (camera.shift_x, camera.shift_y, float(np.degrees(camera.roll)), camera.zoom)
        )

    def finish(self, timeline: Timeline) -> Findings:
        """Integrate the path scene by scene and take away what is slow."""
        path = np.zeros((len(timeline.times_s), 4))
        fast = np.full_like(path, np.nan)
        travel: list[float] = []
        for scene in timeline.scenes():
            path[scene] = self._path(scene)
            frames = timeline.shown(scene)
            times = timeline.times_s[frames]
            slow = path[frames]
            if len(frames) >= _FEWEST and (timeline.rate_hz or 0.0) >= _SLOWEST_HZ:
                slow = smooth(path[frames], times)
                fast[frames] = path[frames] - slow
            travel += [_displacement(way, timeline) for way in np.diff(slow, axis=0)]
        jitter = rms(np.hypot(fast[:, 0], fast[:, 1]))
        seconds = float(np.ptp(timeline.times_s))
        percent = 100 / timeline.diagonal_px
        return Findings(
            {
                "jitter_px": jitter,
                "jitter_pct_diagonal": None if jitter is None else percent * jitter,
                "shake_amplitude_px": _amplitude(fast[:, :2]),
                "camera_travel_pct_diagonal_s": _per_second(percent * sum(travel), seconds),
                "jitter_roll_deg": rms(fast[:, 2]),
            },
            {
                "camera_x_px": path[:, 0],
                "camera_y_px": path[:, 1],
                "jitter_px": np.hypot(fast[:, 0], fast[:, 1]),
                "jitter_roll_deg": np.abs(fast[:, 2]),
            },
        )

    def _path(self, scene: slice) -> Curve:
        """Where the picture has been carried since the scene began: x px, y px, roll degrees,
        zoom.
        """
        inner = np.asarray(self._steps[scene.start : scene.stop - 1], np.float64).reshape(-1, 4)
        return np.concatenate([np.zeros((1, 4)), np.cumsum(inner, axis=0)])


def _displacement(way: Curve, timeline: Timeline) -> float:
    x, y, roll_deg, zoom = way.tolist()
    camera = Camera(x, y, zoom, float(np.radians(roll_deg)))
    sides = sorted((timeline.height, timeline.width))  # flow sees every clip in landscape
    return camera.mean_displacement(*sides)


def _per_second(way: float, seconds: float) -> float | None:
    """None for a clip that shows only one moment."""
    return way / seconds if seconds > 0 else None


def _amplitude(fast: Curve) -> float | None:
    """sqrt(2) times the standard deviation along the first principal axis of (T, 2)
    displacements.
    """
    known = fast[np.isfinite(fast).all(axis=1)]
    if not len(known):
        return None
    power = np.linalg.eigvalsh(known.T @ known / len(known))[-1]
    return float(np.sqrt(2 * max(power, 0.0)))
