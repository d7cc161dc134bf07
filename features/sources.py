"""Where frames come from when no video decoder is needed: image files and folders of them.

Every source, the video files of `clip.py` included, has the shape of `Source`: what its header
says, the times of its frames, and one pass over its pictures that turns a picture into RGB only
when asked. Sources hold no open handles, so they travel to other processes.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from features.clock import Clock, Times
from features.container import Content, opened
from features.errors import BadFrames, NoDecodableFrame, NoImages
from features.limits import Limits
from features.pictures import image_at, image_rgb, shown_size, turned_up

U8 = npt.NDArray[np.uint8]

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm"})
# Animations whose frames say no duration (or 0) play at 10 per second in browsers.
UNTIMED_FRAME_S = 0.1


@dataclass(frozen=True, slots=True)
class Header:
    """What a source says about itself before its pictures are read."""

    width: int
    height: int
    fps: float
    codec: str
    declared_frames: int | None = None
    duration_s: float | None = None
    rotation_deg: int = 0


@dataclass(slots=True)
class Report:
    """What a pass over the pictures found out, as sentences."""

    losses: list[str] = field(default_factory=list)  # what could not be decoded
    notes: list[str] = field(default_factory=list)  # the rest


@dataclass(frozen=True, slots=True)
class Picture:
    """One frame of a source, converted when it is asked for."""

    rgb: Callable[[], U8]  # gives (H, W, 3)
    luma: Callable[[], U8 | None] = lambda: None  # gives (H, W) as it was coded, where it was


class Source(Protocol):
    """Something with frames."""

    @property
    def name(self) -> str:
        """What messages call it."""

    @property
    def header(self) -> Header:
        """Size as shown, rate, codec, and what is declared."""

    @property
    def times_s(self) -> Times:
        """(N,) presentation start times, seconds from the start of the stream."""

    @property
    def sha256(self) -> str:
        """Digest of the content, hexadecimal."""

    def pictures(self, report: Report, *, upright: bool) -> Iterator[tuple[float, Picture]]:
        """(time in seconds, picture) in order of presentation."""


@dataclass(eq=False)
class Folder:
    """One image per frame, in natural order of the names (`2.png` before `10.png`)."""

    content: str  # path
    fps: float
    limits: Limits

    @property
    def name(self) -> str:
        """The path."""
        return self.content

    @cached_property
    def files(self) -> list[Path]:
        """The images, in order."""
        if not (np.isfinite(self.fps) and self.fps > 0):
            raise BadFrames(f"fps must be a positive number, not {self.fps!r}")
        found = [entry for entry in Path(self.content).iterdir() if _is_image(entry)]
        if not found:
            names = ", ".join(sorted("*" + suffix for suffix in IMAGE_SUFFIXES))
            raise NoImages(f"{self.content}: a folder without images; expected {names}")
        self.limits.check_frames(self.content, len(found))
        return sorted(found, key=lambda entry: natural_key(entry.name))

    @cached_property
    def header(self) -> Header:
        """Size of the first image; every other that can be read must have the same."""
        sizes = [(entry.name, size) for entry in self.files if (size := self._size(entry))]
        if not sizes:
            raise NoDecodableFrame(f"{self.content}: none of its images can be read")
        first, (width, height) = sizes[0]
        for other, size in sizes[1:]:
            if size != (width, height):
                raise BadFrames(
                    f"{self.content}: images must have one size, {first} is {width}x{height} and "
                    f"{other} is {size[0]}x{size[1]}; resize them or remove the odd ones"
                )
        count = len(self.files)
        self.limits.check_seconds(self.content, count / self.fps)
        codec = self.files[0].suffix.lower().lstrip(".")
        return Header(width, height, self.fps, codec, count, count / self.fps)

    @property
    def times_s(self) -> Times:
        """Evenly spaced from 0."""
        return Clock.even(self.fps).times(range(len(self.files)))

    @cached_property
    def sha256(self) -> str:
        """Digest of names and bytes."""
        digest = hashlib.sha256()
        for entry in self.files:
            digest.update(entry.name.encode("utf-8", "surrogateescape") + b"\0")
            digest.update(bytes.fromhex(digest_of(str(entry))))
        return digest.hexdigest()

    def pictures(self, report: Report, *, upright: bool) -> Iterator[tuple[float, Picture]]:
        """One image per frame; images that cannot be read are left out and counted."""
        unreadable = 0
        for time_s, entry in zip(self.times_s, self.files, strict=True):
            try:
                with image_at(entry, str(entry), self.limits) as image:
                    pixels = image_rgb(image, upright=upright)
            except NoDecodableFrame:
                unreadable += 1
                continue
            yield float(time_s), ready(pixels)
        if unreadable:
            report.losses.append(f"{unreadable} of {len(self.files)} images could not be read")

    def _size(self, entry: Path) -> tuple[int, int] | None:
        try:
            with image_at(entry, str(entry), self.limits) as image:
                return shown_size(image)
        except NoDecodableFrame:
            return None


@dataclass(eq=False)
class ImageFile:
    """A still image, or an animated WebP or PNG."""

    content: Content
    name: str
    limits: Limits

    @cached_property
    def header(self) -> Header:
        """Size, number of frames and mean rate."""
        with opened(self.content) as file, image_at(file, self.name, self.limits) as image:
            size, count = shown_size(image), int(getattr(image, "n_frames", 1))
            codec = (image.format or "image").lower()
        self.limits.check_frames(self.name, count)
        seconds = sum(self._durations)
        self.limits.check_seconds(self.name, seconds)
        fps = len(self._durations) / seconds
        return Header(*size, fps, codec, count, seconds if count > 1 else None)

    @property
    def times_s(self) -> Times:
        """Sums of the durations before each frame."""
        ends = np.cumsum(self._durations)
        return np.concatenate([[0.0], ends[:-1]]).astype(np.float32)

    @cached_property
    def sha256(self) -> str:
        """Digest of the file."""
        return digest_of(self.content)

    @property
    def still(self) -> Image.Image | None:
        """The image in its own mode, transparency and palette kept; None for an animation."""
        with opened(self.content) as file, image_at(file, self.name, self.limits) as image:
            if int(getattr(image, "n_frames", 1)) > 1:
                return None
            image.load()
            return turned_up(image).copy()

    def pictures(self, report: Report, *, upright: bool) -> Iterator[tuple[float, Picture]]:
        """Frames in order; what comes after a damaged frame is lost with it."""
        frames = self._frames(report, upright=upright)
        for time_s, (_, pixels) in zip(self.times_s, frames, strict=True):
            yield float(time_s), ready(pixels)

    @cached_property
    def _durations(self) -> list[float]:
        """Seconds each frame is shown. Pillow knows them only after decoding the frame."""
        return [seconds for seconds, _ in self._frames(Report(), upright=False)]

    def _frames(self, report: Report, *, upright: bool) -> Iterator[tuple[float, U8]]:
        given = count = 0
        try:
            with opened(self.content) as file, image_at(file, self.name, self.limits) as image:
                count = int(getattr(image, "n_frames", 1))
                for index in range(count):
                    image.seek(index)
                    pixels = image_rgb(image, upright=upright)
                    duration_ms = float(image.info.get("duration") or 0)
                    yield duration_ms / 1000 or UNTIMED_FRAME_S, pixels
                    given += 1
        except NoDecodableFrame:
            if not given:
                raise
            report.losses.append(f"{given} of {count} declared frames decoded")


def ready(pixels: U8) -> Picture:
    """A picture that is decoded already."""
    return Picture(lambda: pixels)


def natural_key(name: str) -> tuple[list[tuple[int, str]], str]:
    """Sort key under which `2.png` comes before `10.png`."""
    parts = re.split(r"(\d+)", name.lower())
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts], name


def digest_of(content: Content) -> str:
    """SHA-256 of a file or of bytes, hexadecimal."""
    digest = hashlib.sha256()
    with opened(content) as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _is_image(entry: Path) -> bool:
    hidden = entry.name.startswith(".")
    return entry.suffix.lower() in IMAGE_SUFFIXES and not hidden and entry.is_file()
