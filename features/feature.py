"""What a feature is: a name, a unit, a method and its source, computed by a meter in one pass.

A meter sees every frame once (`picture`) and every pair of neighbours once (`step`), keeps numbers
and never pictures of the past beyond the last two, and says at the end what it found. That is why
the memory of a measurement does not grow with the length of the clip.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from features.flow import Flow, Pyramid
from features.series import Curve, runs, segments

Image = npt.NDArray[np.uint8]
Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Feature:
    """One measured number: `name` ends in its unit where it has one; `source` names the method."""

    name: str
    unit: str
    better: Literal["lower", "higher", "neither"]
    text: str
    source: str


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """One decoded frame in the sizes that the meters read."""

    index: int
    time_s: float
    rgb: Image  # (H, W, 3), as coded: rotation metadata changes no feature
    luma: Image  # (H, W)
    small: Pyramid  # luma in the sizes for flow, turned by `turns`
    turns: int  # counter-clockwise quarter turns, the same for the whole clip
    details: list[float] | None  # of features/picture.py, where they were due

    @property
    def coarse(self) -> Image:
        """The smallest luma, (h, w)."""
        return self.small.coarse


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """Two neighbouring frames and the flow between them, on the lattice of their coarse lumas."""

    before: Picture
    after: Picture
    flow: Flow
    scale: float  # pixels of the clip per pixel of the coarse luma
    difference: float  # mean absolute RGB difference, grey levels
    worst_block: float  # largest mean absolute difference of a block of coarse luma
    same: bool  # nothing changed that can be seen


@dataclass(frozen=True, slots=True, eq=False)
class Timeline:
    """When frames were shown, where the scene was cut and where a frame was only repeated."""

    times_s: Curve  # (T,)
    width: int
    height: int
    cut: npt.NDArray[np.bool_]  # (T - 1,): the step from t to t + 1 changes the scene
    repeated: npt.NDArray[np.bool_]  # (T - 1,): frame t + 1 shows frame t again

    @property
    def diagonal_px(self) -> float:
        """Diagonal of the frame in pixels."""
        return float(np.hypot(self.width, self.height))

    @property
    def rate_hz(self) -> float | None:
        """Frames per second as shown; None for fewer than two frames."""
        span = float(self.times_s[-1] - self.times_s[0]) if len(self.times_s) > 1 else 0.0
        return (len(self.times_s) - 1) / span if span > 0 else None

    def within_scenes(self, per_step: Sequence[float]) -> Curve:
        """A curve with one value per step, NaN at the steps that cross a cut."""
        return np.where(self.cut, np.nan, np.asarray(per_step, np.float64))

    def scenes(self) -> list[slice]:
        """Frame ranges between cuts."""
        return segments([int(i) + 1 for i in np.flatnonzero(self.cut)], len(self.times_s))

    def shown(self, scene: slice) -> npt.NDArray[np.int64]:
        """Frames of a scene that show something new; all of them if that leaves fewer than
        three.
        """
        frames = np.arange(scene.start, scene.stop)
        fresh = frames[~np.concatenate([[False], self.repeated])[frames] | (frames == scene.start)]
        return fresh if len(fresh) >= 3 else frames

    def spans(self, flags: npt.NDArray[np.bool_]) -> list[Interval]:
        """Seconds [from, to] during which the per-step `flags` hold: the frames on both sides
        count.
        """
        return [(float(self.times_s[a]), float(self.times_s[b])) for a, b in runs(flags.tolist())]


@dataclass(slots=True)
class Findings:
    """What a meter reports: a number or None per feature, curves over frames, marked intervals."""

    features: dict[str, float | None]
    curves: dict[str, Curve] = field(default_factory=dict)
    intervals: dict[str, list[Interval]] = field(default_factory=dict)


class Meter(Protocol):
    """A group of features that are computed together."""

    @property
    def features(self) -> tuple[Feature, ...]:
        """What it measures."""
        ...

    def picture(self, picture: Picture) -> None:
        """See one frame."""

    def step(self, step: Step) -> None:
        """See one pair of neighbouring frames; comes after the second one's `picture`."""

    def finish(self, timeline: Timeline) -> Findings:
        """Report; called once, after the last frame (and at least one)."""


def on_later_frame(per_step: Curve) -> Curve:
    """A curve per frame from one per step: the step's value stands at its later frame."""
    return np.concatenate([[np.nan], per_step])
