"""What can be asked of an opened clip; how it is opened stands in `clip.py`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image

from features.clock import Times
from features.errors import BadFrames, OverLimit
from features.limits import MAX_BYTES, Limits
from features.sources import Report, Source
from features.stream import FrameStream, checked, chosen

if TYPE_CHECKING:
    from typing import Self

U8 = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Footage:
    """A source of frames, the limits it must keep, and the frames wanted from it."""

    source: Source
    limits: Limits = field(default_factory=Limits)
    strict: bool = False
    indices: tuple[int, ...] | None = None  # the frames wanted; None = all of them

    @property
    def path(self) -> str | None:
        """Where the clip lies; None for bytes and frames in memory."""
        content = getattr(self.source, "content", None)
        return content if isinstance(content, str) else None

    @property
    def name(self) -> str:
        """What messages call the clip: its path, or what else it is."""
        return self.source.name

    @property
    def width(self) -> int:
        """Pixels across, as `frames` delivers them."""
        return self.source.header.width

    @property
    def height(self) -> int:
        """Pixels down, as `frames` delivers them."""
        return self.source.header.height

    @property
    def fps(self) -> float:
        """Average frames per second, as the header says."""
        return self.source.header.fps

    @property
    def declared_frames(self) -> int | None:
        """Number of frames the header promises; None where the format does not say."""
        return self.source.header.declared_frames

    @property
    def duration_s(self) -> float:
        """Seconds, as the header says; where it does not, up to the end of the last frame."""
        declared = self.source.header.duration_s
        return declared or float(self.times_s[-1]) + 1 / self.fps

    @property
    def codec(self) -> str:
        """Name of the codec, `h264`."""
        return self.source.header.codec

    @property
    def rotation_deg(self) -> int:
        """Counter-clockwise turn that makes the coded picture upright: -90, 0, 90 or 180."""
        return self.source.header.rotation_deg

    @property
    def sha256(self) -> str:
        """Digest of the file, of names and files (a folder), or of shape and pixels (memory)."""
        return self.source.sha256

    @property
    def times_s(self) -> Times:
        """(N,) float32 start times of all frames, sorted, in seconds from the start of the stream.

        Found without decoding where the file stores presentation times. In a damaged file fewer
        frames may decode than there are times.
        """
        return self.source.times_s

    def at(self, indices: Iterable[int]) -> Self:
        """The same clip with these frames wanted; indices into `times_s`, repeats allowed."""
        wanted = tuple(int(index) for index in indices)
        count = len(self.times_s)
        for index in wanted:
            if not 0 <= index < count:
                raise BadFrames(f"{self.name}: no frame {index}, the clip has 0 to {count - 1}")
        return replace(self, indices=wanted)

    def stream(self, *, upright: bool = True) -> FrameStream:
        """All frames in one sequential decode, whatever `indices` says.

        upright=False: coded pixels, without rotation and without making pixels square (cheaper).
        """
        return FrameStream(self.source, self.limits, upright=upright, strict=self.strict)

    def images(self) -> list[Image.Image]:
        """The wanted frames as Pillow images: RGB, upright.

        A still image keeps its own mode, transparency and palette included, because image models
        differ in what they do with it.
        """
        still: Image.Image | None = getattr(self.source, "still", None)
        if still is not None:
            return [still] * (1 if self.indices is None else len(self.indices))
        return [Image.fromarray(frame) for frame in self.frames()]

    def frames(self, *, max_bytes: int = MAX_BYTES) -> U8:
        """The wanted frames, (T, H, W, 3) uint8 RGB, upright, decoded in one pass.

        In place of a wanted frame that cannot be decoded comes the nearest one in time. Raises
        `OverLimit` for more than `max_bytes` of pixels, before decoding.
        """
        times = self.times_s
        indices = range(len(times)) if self.indices is None else self.indices
        size = len(indices) * self.height * self.width * 3
        if size > max_bytes:
            raise OverLimit(
                f"{self.name}: {len(indices)} frames of {self.width}x{self.height} are {size} "
                f"bytes, the limit is {max_bytes}; choose fewer frames, use stream(), or raise "
                "max_bytes"
            )
        out = np.empty((len(indices), self.height, self.width, 3), np.uint8)
        places: dict[int, list[int]] = {}
        for place, index in enumerate(indices):
            places.setdefault(index, []).append(place)
        wanted = sorted(places)
        pictures = checked(self.source, self.limits, Report(), upright=True)
        for index, pixels in zip(wanted, chosen(pictures, wanted, times), strict=True):
            out[places[index]] = pixels
        return out
