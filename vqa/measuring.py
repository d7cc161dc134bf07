"""Measuring alone: features of a clip as a plain dictionary, no checklist and no judge."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vqa.assess import Source


def measure(source: Source) -> dict[str, float | None]:
    """Measure every feature of a clip in one decode: {"motion_speed_px": 1.93, ...}.

    The unit ends the name where there is one; a feature that is not defined on the clip (too few
    frames, say) is None. `source` is a path, bytes, a file object or a `vqa.Clip`. Raises
    UnreadableVideo. Curves over time and intervals: `features.measure.measure`.
    """
    from features import measure as measuring

    return measuring.measure(source).features
