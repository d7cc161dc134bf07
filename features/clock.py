"""Presentation times: from a stream's own ticks to seconds from its start."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

Times = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Clock:
    """Start and length of a tick. Seconds are float32 of (ticks - start) * tick, as in decord."""

    start: int
    tick_s: Fraction
    interval_s: float | None = None  # for files that store no usable times: between two frames

    @classmethod
    def even(cls, fps: float) -> Clock:
        """Frames at 0, 1 / fps, 2 / fps, ..."""
        return cls(0, Fraction(1), 1 / fps)

    def seconds(self, ticks: int | None, *, index: int, before_s: float) -> float:
        """Start of one frame; of a frame without a time, that of the frame before it."""
        if self.interval_s is not None:
            return float(np.float32(index * self.interval_s))
        if ticks is None:
            return max(before_s, 0.0)
        return float(np.float32((ticks - self.start) * self.tick_s))

    def times(self, ticks: Sequence[int]) -> Times:
        """(N,) starts of all frames, sorted."""
        if self.interval_s is not None:
            return (np.arange(len(ticks)) * self.interval_s).astype(np.float32)
        seconds = [float((tick - self.start) * self.tick_s) for tick in sorted(ticks)]
        return np.array(seconds, np.float32)
