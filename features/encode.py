"""Writing frames to a video file: the only file that encodes.

Tests, the sample clips and the degradation ladders are made with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, repeat
from os import PathLike, fspath
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.video.frame import VideoFrame

av.logging.set_level(None)

# x264's macroblock tree gives other bytes on every run; a sample clip shall be the same each time
_REPEATABLE = {"libx264": {"mbtree": "0"}}

_TICK = Fraction(1, 60_000)  # for frames at given times; finer ones MPEG-4 cannot write


@dataclass(frozen=True, slots=True)
class Tags:
    """Colour tags by their code points in Rec. ITU-T H.273; 2 = unspecified.

    The pixels are converted with the tagged matrix and range; transfer and primaries are only
    written down.
    """

    matrix: int = 2  # 1 BT.709, 5 and 6 BT.601, 9 BT.2020
    transfer: int = 2  # 1 BT.709, 16 PQ, 18 HLG
    primaries: int = 2  # 1 BT.709, 9 BT.2020
    full_range: bool = False


def write_clip(
    path: str | PathLike[str],
    frames: Iterable[npt.NDArray[Any]],
    *,
    fps: float | Fraction = 8,
    codec: str = "libx264",
    crf: float | None = 18,
    pix_fmt: str = "yuv420p",
    rotation: int = 0,
    aspect: Fraction | None = None,
    times_s: Sequence[float] | None = None,
    tags: Tags | None = None,
    options: Mapping[str, str] | None = None,
    container_options: Mapping[str, str] | None = None,
) -> str:
    """Encode frames into the container that the suffix of `path` names; gives the path back.

    frames: (H, W, 3) RGB or (H, W, 4) RGBA, uint8 or uint16, all of one size.
    fps: used unless `times_s`, the start of every frame in seconds, is given.
    rotation: degrees counter-clockwise that a player shall turn the picture, as metadata.
    aspect: width over height of one pixel, as metadata.
    Raises `av.FFmpegError` for a codec that cannot do what is asked, ValueError for no frames.
    """
    tags = tags or Tags(full_range=pix_fmt.startswith(("gray", "yuvj")))
    quality = {} if crf is None else {"crf": str(crf)}
    rate = Fraction(fps).limit_denominator(1001)
    with av.open(fspath(path), "w", options=dict(container_options or {})) as box:
        stream: Any = None
        for frame, time_s in zip(
            frames, chain(times_s or repeat(None)), strict=times_s is not None
        ):
            if stream is None:
                stream = box.add_stream(codec, rate=rate)
                stream.height, stream.width = frame.shape[:2]
                stream.pix_fmt = pix_fmt
                stream.options = _REPEATABLE.get(codec, {}) | quality | dict(options or {})
                _describe(stream, rotation=rotation, aspect=aspect, tags=tags)
                if times_s is not None:
                    stream.codec_context.time_base = _TICK
            picture = _converted(frame, pix_fmt, tags)
            if time_s is not None:
                picture.pts, picture.time_base = round(time_s / _TICK), _TICK
            box.mux(stream.encode(picture))
        if stream is None:
            raise ValueError(f"{fspath(path)}: no frames to write")
        box.mux(stream.encode(None))
    return fspath(path)


def repeat_clip(path: str | PathLike[str], target: str | PathLike[str], *, times: int) -> str:
    """The video of a clip, `times` in a row, without encoding again; gives the target's path."""
    offset = 0
    with av.open(fspath(target), "w") as out:
        copy: Any = None
        for _ in range(times):
            with av.open(fspath(path)) as box:
                stream = box.streams.video[0]
                copy = copy or out.add_stream_from_template(stream)
                end = 0
                for packet in box.demux(stream):
                    if packet.pts is None or packet.dts is None:
                        continue
                    end = max(end, packet.pts + (packet.duration or 0))
                    packet.pts, packet.dts = packet.pts + offset, packet.dts + offset
                    packet.stream = copy
                    out.mux(packet)
                offset += end
    return fspath(target)


def _describe(stream: Any, *, rotation: int, aspect: Fraction | None, tags: Tags) -> None:
    if rotation:
        stream.set_display_rotation(rotation)
    if aspect is not None:
        stream.codec_context.sample_aspect_ratio = aspect
    stream.codec_context.colorspace = tags.matrix
    stream.codec_context.color_trc = tags.transfer
    stream.codec_context.color_primaries = tags.primaries
    if tags.full_range:
        stream.codec_context.color_range = 2


def _converted(pixels: npt.NDArray[Any], pix_fmt: str, tags: Tags) -> VideoFrame:
    deep = pixels.dtype == np.uint16
    alpha = pixels.shape[2] == 4
    given = ("rgba64le" if deep else "rgba") if alpha else ("rgb48le" if deep else "rgb24")
    frame = VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format=given)
    return frame.reformat(
        format=pix_fmt,
        dst_colorspace=_SWSCALE.get(tags.matrix),
        dst_color_range=2 if tags.full_range else 1,
    )


# swscale's numbers for the matrices of H.273
_SWSCALE = {1: 1, 5: 5, 6: 5, 9: 9}
