"""Frames that are already in memory, of any common kind."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from features.clock import Clock, Times
from features.color import over_black
from features.errors import BadFrames
from features.pictures import image_rgb, turned_up
from features.sources import Header, Picture, Report, ready

U8 = npt.NDArray[np.uint8]

_EXPECTED = "expected (T, H, W, 3) uint8 RGB or (T, 3, H, W) floats in [0, 1]"
# Half precision rounds 1.0 up a little; anything further out is another range.
_RANGE_SLACK = 1e-3


@dataclass(eq=False)
class Memory:
    """Frames already decoded: (T, H, W, 3) uint8 RGB.

    still -- the Pillow image they were made of, if it was one: it can have transparency.
    """

    pixels: U8
    fps: float
    name: str = "frames"
    still: Image.Image | None = None

    @property
    def header(self) -> Header:
        """Everything is known."""
        count, height, width = self.pixels.shape[:3]
        return Header(width, height, self.fps, "raw", count, count / self.fps)

    @property
    def times_s(self) -> Times:
        """Evenly spaced from 0."""
        return Clock.even(self.fps).times(range(len(self.pixels)))

    @cached_property
    def sha256(self) -> str:
        """Digest of shape and pixels."""
        digest = hashlib.sha256(repr(self.pixels.shape).encode())
        for frame in self.pixels:
            digest.update(frame.tobytes())
        return digest.hexdigest()

    def pictures(self, report: Report, *, upright: bool) -> Iterator[tuple[float, Picture]]:
        """The frames themselves, not copies."""
        for time_s, frame in zip(self.times_s, self.pixels, strict=True):
            yield float(time_s), ready(frame)


def memory_from(frames: Any, *, fps: float) -> Memory:
    """Frames as `Memory`; what they may be stands in `Clip.from_frames`. Raises `BadFrames`."""
    if not (np.isfinite(fps) and fps > 0):
        raise BadFrames(f"fps must be a positive number, not {fps!r}")
    still = frames if isinstance(frames, Image.Image) else None
    array = _stacked([still] if still else frames)
    if array.ndim != 4:
        raise BadFrames(f"frames have shape {array.shape}; {_EXPECTED}")
    if 0 in array.shape:
        raise BadFrames(f"no frames or no pixels: shape {array.shape}; {_EXPECTED}")
    if array.dtype != np.uint8 and array.dtype.kind != "f":
        raise BadFrames(f"frames have dtype {array.dtype}; {_EXPECTED}")
    array = _channels_last(array)
    pixels = _three_channels(_bytes(array))
    return Memory(pixels, float(fps), still=None if still is None else turned_up(still))


def _stacked(frames: Any) -> npt.NDArray[Any]:
    """One array of a tensor, an array, or something that yields frames."""
    if hasattr(frames, "shape") or isinstance(frames, Image.Image):
        return _array(frames)
    try:
        arrays = [_array(frame) for frame in frames]
    except TypeError:
        raise BadFrames(f"frames are a {type(frames).__name__}; {_EXPECTED}") from None
    if not arrays:
        raise BadFrames(f"no frames: a clip needs at least one; {_EXPECTED}")
    kinds = sorted({(array.shape, array.dtype.name) for array in arrays})
    if len(kinds) > 1:
        raise BadFrames(f"frames must all have one shape and type, these have {kinds}")
    return np.stack(arrays)


def _array(frame: Any) -> npt.NDArray[Any]:
    if isinstance(frame, Image.Image):
        return image_rgb(frame)
    if hasattr(frame, "detach"):  # a torch tensor, without importing torch
        frame = frame.detach().cpu()
        frame = frame.float() if frame.is_floating_point() else frame  # numpy has no bfloat16
        frame = frame.numpy()
    if not isinstance(frame, np.ndarray):
        raise BadFrames(f"a frame is a {type(frame).__name__}; {_EXPECTED}, or Pillow images")
    return frame


def _channels_last(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """(T, H, W, C); where both ends could be channels, floats are read as torch lays them out."""
    first, last = array.shape[1] in (1, 3, 4), array.shape[3] in (1, 3, 4)
    torch_like = array.dtype.kind == "f" or not last
    return np.moveaxis(array, 1, 3) if first and torch_like else array


def _bytes(array: npt.NDArray[Any]) -> U8:
    if array.dtype == np.uint8:
        return array
    low, high = float(array.min()), float(array.max())
    if not (low >= -_RANGE_SLACK and high <= 1 + _RANGE_SLACK):  # NaN fails both
        raise BadFrames(
            f"float frames must lie in [0, 1], these lie in [{low:g}, {high:g}]; rescale them "
            "(from [-1, 1]: x / 2 + 0.5), or give uint8"
        )
    out = np.empty(array.shape, np.uint8)
    for index, frame in enumerate(array):  # one at a time: float copies of all are large
        scaled = np.clip(frame.astype(np.float32), 0, 1) * np.float32(255)
        out[index] = np.rint(scaled)
    return out


def _three_channels(array: U8) -> U8:
    channels = array.shape[3]
    if channels == 1:
        return np.repeat(array, 3, axis=3)
    if channels == 4:
        return np.stack([over_black(frame) for frame in array])
    if channels != 3:
        raise BadFrames(f"frames have {channels} channels, shape {array.shape}; {_EXPECTED}")
    return array
