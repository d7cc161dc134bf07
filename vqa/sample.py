"""Samplers: which frames of a clip the judge sees.

A sampler is a value: frozen, comparable, and its repr is its name in a row, a log or a cache.
Called with a clip it gives the same clip with chosen frames. `PerSecond()` and `Uniform()`
reproduce the frame choice of the released CogVLM2-Video code, "chat" and "base", on which
VisionReward's weights were fitted; `AtRate()` is the sampling the VisionReward paper describes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from vqa.errors import BadArgument, BadFrames

if TYPE_CHECKING:
    from features.clip import Clip

Floats = npt.NDArray[np.floating]

# AroundMotion: this share of the samples is spread evenly over time, the rest follows motion, so
# that a long still part is seen as well.
EVEN_SHARE = 0.3
# ... and motion is measured on pictures of this width: enough to see it, small enough to be free.
_SMALL_WIDTH = 64


class Sampler(Protocol):
    """Clip to Clip with chosen frames."""

    def __call__(self, clip: Clip) -> Clip:
        """The same clip, with `indices` set."""


@dataclass(frozen=True)
class PerSecond:
    """The frame nearest to each whole second, at most `limit` of them ("chat")."""

    limit: int = 24

    def __post_init__(self) -> None:
        _positive(self, limit=self.limit)

    def __call__(self, clip: Clip) -> Clip:
        """Choose from the presentation times; slow clips can repeat frames."""
        return clip.at(per_second(clip.times_s, limit=self.limit))


@dataclass(frozen=True)
class Uniform:
    """`count` frames evenly from the first `first_s` seconds, first and last included ("base")."""

    count: int = 24
    first_s: float = 60

    def __post_init__(self) -> None:
        _positive(self, count=self.count, first_s=self.first_s)

    def __call__(self, clip: Clip) -> Clip:
        """Choose by index and average rate; short clips repeat frames."""
        total = len(clip.times_s)
        return clip.at(uniform(total, clip.fps, count=self.count, first_s=self.first_s))


@dataclass(frozen=True)
class AtRate:
    """The frame nearest to every k / `fps` seconds, at most `limit` of them (the paper's)."""

    fps: float = 4
    limit: int = 24

    def __post_init__(self) -> None:
        _positive(self, fps=self.fps, limit=self.limit)

    def __call__(self, clip: Clip) -> Clip:
        """Choose from the presentation times; clips slower than `fps` repeat frames."""
        return clip.at(at_rate(clip.times_s, fps=self.fps, limit=self.limit))


@dataclass(frozen=True)
class AroundMotion:
    """`count` frames, spent where things happen.

    Between neighbouring chosen frames lies the same amount of change, where change is 70 % mean
    absolute luma difference and 30 % time. First and last frame are always among them (for a count
    of 1, the frame in the middle of the change), and no frame comes twice while there are others.
    Costs one decode of the clip.
    """

    count: int = 24

    def __post_init__(self) -> None:
        _positive(self, count=self.count)

    def __call__(self, clip: Clip) -> Clip:
        """Measure motion in one pass, then choose."""
        times_s, motion = _motion(clip)
        chosen = around_motion(times_s, motion, count=self.count)
        # A damaged clip has fewer decoded frames than times: find them again by their time.
        return clip.at(_nearest(clip.times_s, float(times_s[index])) for index in chosen)


@dataclass(frozen=True)
class Strided:
    """All frames of a short clip; of a longer one `count` at equal steps from the first on.

    VideoScore's example script: 16 for v1.0, 48 for v1.1. The last frame is never reached.
    """

    count: int = 16

    def __post_init__(self) -> None:
        _positive(self, count=self.count)

    def __call__(self, clip: Clip) -> Clip:
        """Choose by index."""
        return clip.at(strided(len(clip.times_s), count=self.count))


@dataclass(frozen=True)
class EvenRate:
    """An even number of frames, about `fps` per second, from the first to the last.

    The sampling of qwen-vl-utils 0.0.8: at least 4 frames (fewer only if the clip has fewer), at
    most `limit`.
    """

    fps: float = 8
    limit: int = 768

    def __post_init__(self) -> None:
        _positive(self, fps=self.fps, limit=self.limit)

    def __call__(self, clip: Clip) -> Clip:
        """Choose by index and average rate. Raises BadFrames for a clip of a single frame."""
        total = len(clip.times_s)
        if total < 2:
            raise BadFrames(f"{clip.name}: has 1 frame; this network looks at pairs of frames")
        return clip.at(even_rate(total, clip.fps, wanted=self.fps, limit=self.limit))


@dataclass(frozen=True)
class All:
    """Every frame."""

    def __call__(self, clip: Clip) -> Clip:
        """Choose all."""
        return clip.at(range(len(clip.times_s)))


def per_second(times_s: Sequence[float] | Floats, *, limit: int) -> list[int]:
    """Indices of the frames nearest to 0, 1, 2, ... s, the earlier one where two are as near.

    Seconds run to the last start time, rounded half to even, as in the released `load_video`.
    """
    times = np.asarray(times_s, np.float64)
    seconds = min(round(float(times.max())) + 1, limit)
    return [_nearest(times, second) for second in range(seconds)]


def uniform(total: int, fps: float, *, count: int, first_s: float) -> list[int]:
    """`count` indices from 0 to the last frame before `first_s`, fractions cut off."""
    end = max(1, min(total, int(first_s * fps)))
    return [int(index) for index in np.linspace(0, end - 1, count, dtype=int)]


def strided(total: int, *, count: int) -> list[int]:
    """All indices up to `count` of them, else the truncated multiples of total / count."""
    if total <= count:
        return list(range(total))
    return [int(index) for index in np.arange(0, total, total / count)[:count]]


def even_rate(total: int, fps: float, *, wanted: float, limit: int) -> list[int]:
    """Indices evenly from 0 to the last one, rounded half to even, an even number of them."""
    most = max(2, min(limit, total) // 2 * 2)
    count = min(max(total / fps * wanted, 4), most)
    count = min(2 * round(count / 2), most)
    return [round(index) for index in np.linspace(0, total - 1, count).tolist()]


def at_rate(times_s: Sequence[float] | Floats, *, fps: float, limit: int) -> list[int]:
    """Indices of the frames nearest to 0, 1 / fps, 2 / fps, ... s, up to the last start time."""
    times = np.asarray(times_s, np.float64)
    # Start times are float32: the last one may lie a hair below a multiple of 1 / fps.
    steps = min(int(float(times.max()) * fps + 1e-3) + 1, limit)
    return [_nearest(times, step / fps) for step in range(steps)]


def around_motion(
    times_s: Sequence[float] | Floats, motion: Sequence[float] | Floats, *, count: int
) -> list[int]:
    """Indices with equal change between them; `motion[i]` is the change from frame i to i + 1."""
    total = len(times_s)
    if total == 1:
        return [0] * count
    change = EVEN_SHARE * _shares(np.diff(np.asarray(times_s, np.float64)))
    change += (1 - EVEN_SHARE) * _shares(np.asarray(motion, np.float64))
    if 1 < count <= total:
        change = _capped(change, 1 / (count - 1))
    marks = np.linspace(0, 1, count) if count > 1 else np.array([0.5])
    progress = np.concatenate([[0.0], np.cumsum(change) / change.sum()])
    nearest = np.floor(np.interp(marks, progress, np.arange(total)) + 0.5).astype(int)
    if count > 1:  # steps without any change make the ends ambiguous
        nearest[0], nearest[-1] = 0, total - 1
    return _apart(nearest.tolist(), total) if count <= total else nearest.tolist()


def _capped(change: Floats, most: float) -> Floats:
    """Spread what one step has above `most` over the others, so that a cut costs one sample."""
    change = change.copy()
    for _ in range(len(change)):
        over = change > most
        excess = float((change[over] - most).sum())
        if excess <= 1e-12:
            break
        change[over] = most
        below = ~over & (change < most)
        change[below] += excess * _shares(change[below])
    return change


def _apart(indices: list[int], total: int) -> list[int]:
    """Sorted indices made different from each other, moved as little as needed."""
    for place in range(1, len(indices)):
        indices[place] = max(indices[place], indices[place - 1] + 1)
    last = total
    for place in reversed(range(len(indices))):
        last = indices[place] = min(indices[place], last - 1)
    return indices


def _shares(weights: Floats) -> Floats:
    """Weights that sum to 1; even ones where all are 0."""
    weights = np.maximum(weights, 0)
    total = weights.sum()
    return weights / total if total > 0 else np.full(len(weights), 1 / max(1, len(weights)))


def _motion(clip: Clip) -> tuple[Floats, Floats]:
    """Start times of the decoded frames, and the mean luma difference from each to the next."""
    import cv2

    times: list[float] = []
    motion: list[float] = []
    before: npt.NDArray[np.int16] | None = None
    height = max(1, round(_SMALL_WIDTH * clip.height / clip.width))
    with clip.stream(upright=False) as stream:
        for frame in stream:
            gray = cv2.cvtColor(frame.rgb, cv2.COLOR_RGB2GRAY)
            small = cv2.resize(gray, (_SMALL_WIDTH, height), interpolation=cv2.INTER_AREA)
            here = small.astype(np.int16)
            if before is not None:
                motion.append(float(np.abs(here - before).mean()))
            times.append(frame.time_s)
            before = here
    return np.array(times), np.array(motion)


def _nearest(times: Floats, due: float) -> int:
    return int(np.abs(np.asarray(times, np.float64) - due).argmin())


def _positive(sampler: object, **values: float) -> None:
    for name, value in values.items():
        if not value > 0:
            raise BadArgument(f"{type(sampler).__name__}: {name} must be positive, not {value!r}")
