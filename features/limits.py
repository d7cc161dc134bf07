"""How large a clip may be before it is refused, checked before anything is decoded."""

from __future__ import annotations

from dataclasses import dataclass

from features.errors import OverLimit

MAX_PIXELS = 8192 * 4320  # 8K with room; of the coded and of the shown picture
MAX_SECONDS = 3600.0
MAX_FRAMES = 200_000  # 55 minutes at 60 fps
MAX_BYTES = 4 << 30  # of decoded frames held at once, by `Clip.frames`


@dataclass(frozen=True, slots=True)
class Limits:
    """Checked from the header, and again while decoding where the header lied."""

    max_pixels: int = MAX_PIXELS
    max_seconds: float = MAX_SECONDS
    max_frames: int = MAX_FRAMES

    def check_size(self, name: str, width: int, height: int) -> None:
        """Raise `OverLimit` for a picture of more than `max_pixels`."""
        if width * height > self.max_pixels:
            raise OverLimit(
                f"{name}: {width}x{height} is {width * height} pixels per frame, the limit is "
                f"{self.max_pixels}; scale it down or raise max_pixels"
            )

    def check_seconds(self, name: str, seconds: float | None) -> None:
        """Raise `OverLimit` for a clip longer than `max_seconds`."""
        if seconds is not None and seconds > self.max_seconds:
            raise OverLimit(
                f"{name}: {seconds:.1f} s long, the limit is {self.max_seconds:g} s; "
                "cut it or raise max_seconds"
            )

    def check_frames(self, name: str, frames: int | None) -> None:
        """Raise `OverLimit` for a clip of more than `max_frames`."""
        if frames is not None and frames > self.max_frames:
            raise OverLimit(
                f"{name}: {frames} frames or more, the limit is {self.max_frames}; "
                "cut it or raise max_frames"
            )
