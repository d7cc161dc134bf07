"""What an opened video file promises about its frames, before or after they are read.

The arguments are PyAV's, by shape only: this file imports no decoder.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from features.layout import turns_of_matrix

MICROSECONDS = 1_000_000  # the unit of a container's duration


@dataclass(frozen=True, slots=True)
class Promises:
    """Frames and seconds a file says it has; None where it does not say."""

    frames: int | None
    seconds: float | None

    def broken_by(self, frames: int, seconds: float, *, fps: float) -> str | None:
        """What was decoded instead, as a sentence; None when the promise was kept."""
        if self.frames and frames < self.frames:
            return _fewer(frames, self.frames)
        # Three frames of slack: the last duration is often a guess.
        if self.seconds and self.seconds - seconds > max(0.2, 3 / fps):
            return f"{seconds:.2f} of {self.seconds:.2f} declared seconds decoded"
        return None


@dataclass(slots=True)
class Tally:
    """What happened in one pass over a video file."""

    fed: int = 0  # packets that should each have given a picture
    decoded: int = 0
    damaged: int = 0  # packets that were not decoded
    doubtful: int = 0  # packets that were, although something is missing near them
    resized: int = 0  # pictures
    last_s: float = -math.inf
    interrupted: str | None = None
    broken_promise: str | None = None

    def losses(self, *, is_cut: bool, declared: int | None) -> list[str]:
        """Sentences about what was not decoded; none for a whole file."""
        losses = []
        if is_cut and declared and declared > self.decoded:
            losses.append(_fewer(self.decoded, declared))
        elif self.broken_promise:
            losses.append(self.broken_promise)
        elif is_cut:
            losses.append(f"the file is cut short: {self.decoded} frames decoded")
        elif self.interrupted:
            losses.append(f"reading stopped after {self.decoded} frames: {self.interrupted}")
        if self.damaged:
            losses.append(f"{self.damaged} damaged packets skipped")
        if self.doubtful:
            losses.append(f"{self.doubtful} damaged packets decoded as far as possible")
        return losses


def promises(box: Any, stream: Any) -> Promises:
    """What a file read to its end had promised (its index is complete only then)."""
    # AVI counts repeated frames that are stored as nothing; its index does not.
    indexed = _is_mp4(box) or box.format.name == "avi"
    frames = _indexed(stream) if indexed else stream.frames
    return Promises(frames or None, _video_seconds(box, stream))


def declared_frames(box: Any, stream: Any) -> int | None:
    """Number of frames by the header."""
    if _is_mp4(box) and stream.frames:
        # The index knows which samples an edit list hides; the count in the header does not.
        return _indexed(stream) or None
    return stream.frames or None


def duration_s(box: Any, stream: Any) -> float | None:
    """Seconds of the video stream, or else of the container."""
    if stream.duration and stream.duration > 0 and stream.time_base:
        return float(stream.duration * stream.time_base)
    return box.duration / MICROSECONDS if box.duration and box.duration > 0 else None


def turns(frame: Any) -> tuple[int, bool]:
    """(quarter turns, mirrored) by the display matrix that travels with a picture."""
    for data in frame.side_data:
        if data.type.name == "DISPLAYMATRIX":
            return turns_of_matrix(bytes(data))
    return 0, False


def is_shown(packet: Any, codec: str) -> bool:
    """Whether a packet gives a picture of its own, and not only something to refer to.

    Edit lists hide packets; VP8 stores hidden pictures as packets (RFC 6386, 9.1: show_frame).
    """
    return not packet.is_discard and (codec != "vp8" or bool(bytes(packet)[0] >> 4 & 1))


def _video_seconds(box: Any, stream: Any) -> float | None:
    """Seconds the pictures must cover. Only where sound does not count and nothing is guessed."""
    if _is_mp4(box):
        return duration_s(box, stream)
    timed = box.format.name == "asf" or "matroska" in box.format.name
    if timed and len(box.streams) == 1 and box.duration:
        start = float((stream.start_time or 0) * stream.time_base)
        return float(box.duration / MICROSECONDS) - start
    return None


def _indexed(stream: Any) -> int:
    return sum(not entry.is_discard for entry in stream.index_entries)


def _fewer(frames: int, declared: int) -> str:
    return f"{frames} of {declared} declared frames decoded"


def _is_mp4(box: Any) -> bool:
    return "mp4" in box.format.name.split(",")
