"""Freezes: frames that show the one before again, in stalls or one by one."""

import cv2
import numpy as np
import numpy.typing as npt

from features.feature import Feature, Findings, Image, Picture, Step, Timeline, on_later_frame
from features.series import Curve

# A frame that repeats the one before and was encoded well differs by nothing that can be seen ...
_SAME_MEAN, _SAME_BLOCK = 0.05, 0.5  # grey levels: mean over RGB, and worst block of luma
# ... encoded badly it still changes far less than a frame that shows something new.
_SHARE_OF_NEW = 0.2
_NEVER_MEAN, _NEVER_BLOCK = 1.5, 6.0
_BLOCK = 8  # pixels of the coarse luma
_STALL_S = 0.25  # a shorter stop is a dropped frame, a longer one is seen as a stall


def same_picture(difference: float, worst_block: float) -> bool:
    """Whether two frames show the same without a doubt: no motion needs to be looked for."""
    return difference <= _SAME_MEAN and worst_block <= _SAME_BLOCK


def worst_block(before: Image, after: Image) -> float:
    """Largest mean absolute difference of any 8 x 8 block of two (H, W) lumas, grey levels."""
    changed = cv2.boxFilter(cv2.absdiff(before, after), cv2.CV_32F, (_BLOCK, _BLOCK))
    return float(changed.max())


def repeats(difference: Curve, block: Curve) -> npt.NDArray[np.bool_]:
    """(N,) which steps repeat a frame, from their mean differences and worst blocks.

    Those that change nothing, and those that change a fifth of what the clip's livelier steps do,
    in both respects.
    """
    same = (difference <= _SAME_MEAN) & (block <= _SAME_BLOCK)
    if same.all():
        return same
    mean_limit = min(_NEVER_MEAN, _SHARE_OF_NEW * float(np.quantile(difference[~same], 0.75)))
    block_limit = min(_NEVER_BLOCK, _SHARE_OF_NEW * float(np.quantile(block[~same], 0.75)))
    return same | ((difference <= mean_limit) & (block <= block_limit))


_SOURCE = "mean and worst-block difference of neighbouring frames (this project)"


class Freeze:
    """Share of repeated frames, the stalls they form, and the longest."""

    features = (
        Feature(
            "repeated_share",
            "0..1",
            "lower",
            "share of steps that show the same picture again",
            _SOURCE,
        ),
        Feature(
            "freeze_share",
            "0..1",
            "lower",
            "share of the duration spent in stalls of 0.25 s and longer",
            _SOURCE,
        ),
        Feature(
            "freeze_longest_s",
            "s",
            "lower",
            "longest time for which one picture stood; 0 without a repeat",
            _SOURCE,
        ),
    )

    def __init__(self) -> None:
        self._changes: list[tuple[float, float]] = []

    def picture(self, picture: Picture) -> None:
        """Nothing to do: a repeat needs two frames."""

    def step(self, step: Step) -> None:
        """Note how much changed, on average and at worst."""
        self._changes.append((step.difference, step.worst_block))

    def mask(self) -> npt.NDArray[np.bool_]:
        """(T - 1,) whether each step shows the same picture again."""
        changes = np.asarray(self._changes, np.float64).reshape(-1, 2)
        return repeats(changes[:, 0], changes[:, 1])

    def finish(self, timeline: Timeline) -> Findings:
        """Gather the repeats into intervals."""
        stops = timeline.spans(timeline.repeated)
        stalls = [(a, b) for a, b in stops if b - a >= _STALL_S]
        steps, span = len(timeline.repeated), float(np.ptp(timeline.times_s))
        return Findings(
            {
                "repeated_share": float(timeline.repeated.mean()) if steps else None,
                "freeze_share": sum(b - a for a, b in stalls) / span if span > 0 else None,
                "freeze_longest_s": max((b - a for a, b in stops), default=0.0) if steps else None,
            },
            {"repeated": on_later_frame(timeline.repeated.astype(np.float64))},
            {"freeze": stalls, "repeated": stops},
        )
