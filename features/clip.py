"""A video clip: what its header says, the times of its frames, and its frames as 8-bit RGB.

This is the only file that imports a video decoder: PyAV, or decord for bit parity with the
released VisionReward script. (The two give the same bytes for ordinary 8-bit video; PyAV reads far
more.) OpenCV's reader was rejected: it hides presentation times, damaged packets and colour tags.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import chain
from os import PathLike
from typing import Any, BinaryIO, Literal

import av
import numpy as np
import numpy.typing as npt
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from features.clock import Clock, Times
from features.color import to_luma, to_rgb
from features.container import Content, content_of, kind_of, opened, refusal
from features.ending import before_cut_index, is_cut
from features.errors import MissingDecoder, NoDecodableFrame, NoVideoStream
from features.footage import Footage
from features.layout import Layout, resize
from features.limits import MAX_FRAMES, MAX_PIXELS, MAX_SECONDS, Limits
from features.memory import memory_from
from features.promises import Tally, declared_frames, duration_s, is_shown, promises, turns
from features.sources import Folder, Header, ImageFile, Picture, Report, Source, digest_of
from features.stream import Frame, FrameStream

__all__ = ["Clip", "Frame", "FrameStream"]

U8 = npt.NDArray[np.uint8]
Decoder = Literal["pyav", "decord"]

av.logging.set_level(None)  # damaged files would fill standard error; what matters is raised


@dataclass(frozen=True, slots=True, eq=False)
class Clip(Footage):
    """A video and the frames wanted from it. Pickles without decoded frames or open files.

    Make one with `Clip.open` or `Clip.from_frames`.
    """

    @classmethod
    def open(
        cls,
        source: str | PathLike[str] | bytes | BinaryIO,
        *,
        decoder: Decoder = "pyav",
        strict: bool = False,
        fps: float = 8.0,
        square_pixels: bool = True,
        max_pixels: int = MAX_PIXELS,
        max_seconds: float = MAX_SECONDS,
        max_frames: int = MAX_FRAMES,
    ) -> Clip:
        """Open a video, an image, or a folder of images (shown at `fps`), by path or content.

        Reads the header and, because only pictures know their rotation, one picture. Pixels that
        are not square are made so by enlarging their short side, unless `square_pixels` is off.
        Raises a subclass of `UnreadableVideo` that says what is wrong and what to do.
        """
        limits = Limits(max_pixels, max_seconds, max_frames)
        content, name = content_of(source)
        kind = kind_of(content)
        frames: Source
        if kind == "folder" and isinstance(content, str):
            frames = Folder(content, fps, limits)
        elif kind == "image":
            frames = ImageFile(content, name, limits)
        elif decoder == "pyav":
            frames = VideoFile(content, name, limits, square_pixels)
        elif decoder == "decord":
            frames = DecordFile(content, name, limits)
        else:
            raise MissingDecoder(f"no decoder {decoder!r}; there are 'pyav' and 'decord'")
        limits.check_size(name, frames.header.width, frames.header.height)
        return cls(frames, limits, strict)

    @classmethod
    def from_frames(cls, frames: Any, *, fps: float = 8.0) -> Clip:
        """Frames in memory, shown at `fps`.

        frames: (T, H, W, 3) uint8 RGB; a list of arrays or Pillow images; or floats in [0, 1],
        (T, 3, H, W) as torch has them or (T, H, W, 3) (numpy or torch, on any device). One Pillow
        image is a clip of one frame.
        Arrays of bytes are not copied. Raises `BadFrames`.
        """
        return cls(memory_from(frames, fps=fps))


@dataclass(frozen=True, slots=True)
class Facts:
    """What opening a video file told; only the first picture knows the layout."""

    header: Header
    layout: Layout
    clock: Clock
    container: str  # ffmpeg's name, which can be a list: mov,mp4,m4a,...


@dataclass(eq=False)
class VideoFile:
    """A video file read with PyAV."""

    content: Content
    name: str
    limits: Limits
    square_pixels: bool = True

    @property
    def header(self) -> Header:
        """Size as shown, rate, codec and what is declared."""
        return self.facts.header

    @cached_property
    def sha256(self) -> str:
        """Digest of the file."""
        return digest_of(self.content)

    @cached_property
    def times_s(self) -> Times:
        """From the packets; by decoding where some packet has no presentation time."""
        clock, found = self.facts.clock, list[int]()
        with self._stream() as (box, stream):
            for packet in _packets(box, stream, Tally()):
                if not is_shown(packet, stream.codec_context.name):
                    continue
                if packet.pts is None and clock.interval_s is None:
                    break
                found.append(packet.pts or 0)
                self.limits.check_frames(self.name, len(found))
            else:
                return clock.times(found)
        return np.array([t for t, _ in self.pictures(Report(), upright=False)], np.float32)

    def pictures(self, report: Report, *, upright: bool) -> Iterator[tuple[float, Picture]]:
        """One pass; damaged packets are skipped and counted.

        The codec runs on one thread. More of them make decoding alone a little faster on two cores
        and everything around it slower, and PyAV then drops good pictures behind a damaged one.
        """
        tally, clock, fps = Tally(), self.facts.clock, self.header.fps
        with self._stream() as (box, stream):
            stream.codec_context.thread_count = 1
            for frame in _frames(box, stream, tally):
                tally.last_s = clock.seconds(
                    frame.pts, index=tally.decoded - 1, before_s=tally.last_s
                )
                yield tally.last_s, self._picture(frame, tally, upright=upright)
            end_s = tally.last_s + 1 / fps
            tally.broken_promise = promises(box, stream).broken_by(tally.decoded, end_s, fps=fps)
        if tally.resized:
            report.notes.append(
                f"{tally.resized} frames had another size and were scaled to that of the first"
            )
        with opened(self.content) as file:
            cut = is_cut(file)
        report.losses += tally.losses(is_cut=cut, declared=self.header.declared_frames)

    def _picture(self, frame: VideoFrame, tally: Tally, *, upright: bool) -> Picture:
        layout = self.facts.layout
        if odd := (frame.width, frame.height) != (layout.coded_width, layout.coded_height):
            self.limits.check_size(self.name, frame.width, frame.height)
            tally.resized += 1

        def rgb() -> U8:
            try:
                pixels = to_rgb(frame)
            except (av.FFmpegError, ValueError) as error:
                raise NoDecodableFrame(
                    f"{self.name}: pixel format {frame.format.name} cannot be converted to RGB "
                    f"({error}); transcode it to yuv420p"
                ) from error
            if odd:
                pixels = resize(pixels, width=layout.coded_width, height=layout.coded_height)
            return layout.show(pixels) if upright else pixels

        return Picture(rgb) if odd or upright else Picture(rgb, lambda: to_luma(frame))

    @contextmanager
    def _stream(self) -> Iterator[tuple[InputContainer, VideoStream]]:
        with opened(self.content) as file, self._container(file) as box:
            yield box, self._video(box)

    def _container(self, file: BinaryIO) -> InputContainer:
        try:
            return av.open(file, "r", metadata_errors="replace", container_options=_OPTIONS)
        except (av.FFmpegError, ValueError) as error:
            if usable := before_cut_index(file):
                file.seek(0)
                return self._container(io.BytesIO(file.read(usable)))
            reason = getattr(error, "strerror", error)
            raise refusal(self.content, self.name, reason) from error

    def _video(self, box: InputContainer) -> VideoStream:
        best = box.streams.best("video")
        if not box.streams:
            raise refusal(self.content, self.name, "no streams")
        if not isinstance(best, VideoStream) or best.disposition & Disposition.attached_pic:
            raise NoVideoStream(
                f"{self.name}: holds no video stream (audio only?); give a file with pictures"
            )
        if best.codec_context is None:
            raise NoDecodableFrame(
                f"{self.name}: no decoder for its video codec; transcode it, to h264 for example"
            )
        # A header that hides a picture far over the limit must not cost the memory either.
        best.codec_context.options = {"max_pixels": str(2 * self.limits.max_pixels)}
        return best

    @cached_property
    def facts(self) -> Facts:
        """Everything about the file that does not change, from header and first picture."""
        with self._stream() as (box, stream):
            seconds, declared = duration_s(box, stream), declared_frames(box, stream)
            self.limits.check_size(self.name, stream.width, stream.height)
            self.limits.check_seconds(self.name, seconds)
            self.limits.check_frames(self.name, declared)
            fps = float(stream.average_rate or stream.guessed_rate or 25)
            aspect = float(stream.sample_aspect_ratio or 1) if self.square_pixels else 1.0
            codec, container = stream.codec_context.codec.canonical_name, box.format.name
            start, tick_s = stream.start_time, stream.time_base or Fraction(1)
            # AVI numbers frames in decoding order: with B-frames those are not presentation times.
            timeless = container == "avi" and bool(stream.codec_context.has_b_frames)
            first = next(_frames(box, stream, Tally()), None)
        if first is None:
            raise NoDecodableFrame(
                f"{self.name}: not a single frame could be decoded; is the file damaged?"
            )
        self.limits.check_size(self.name, first.width, first.height)
        layout = Layout(first.width, first.height, *turns(first), aspect)
        header = Header(*layout.size, fps, codec, declared, seconds, layout.rotation_deg)
        start = first.pts if start is None else start
        timeless = timeless or first.pts is None
        clock = Clock(start or 0, tick_s, 1 / fps if timeless else None)
        return Facts(header, layout, clock, container)


@dataclass(eq=False)
class DecordFile:
    """A video file read with decord, as the released VisionReward script reads it.

    Coded pixels, turned upright. A damaged file can end the process inside decord 0.6, AVI most of
    all, so PyAV goes over the file first and only whole mp4 and Matroska files are handed on.
    """

    content: Content
    name: str
    limits: Limits

    @cached_property
    def _video(self) -> VideoFile:
        video = VideoFile(self.content, self.name, self.limits, square_pixels=False)
        if not {"mp4", "matroska"} & set(video.facts.container.split(",")):
            raise self._unable(f"it is {video.facts.container}, decord is given mp4 and mkv only")
        report = Report()
        for _ in video.pictures(report, upright=False):
            pass
        if report.losses:
            raise self._unable("; ".join(report.losses))
        return video

    @property
    def header(self) -> Header:
        """As PyAV reads it."""
        return self._video.header

    @property
    def sha256(self) -> str:
        """Digest of the file."""
        return self._video.sha256

    @cached_property
    def times_s(self) -> Times:
        """As decord gives them."""
        with self._reader() as reader:
            times: Times = reader.get_frame_timestamp(range(len(reader)))[:, 0]
            return times.astype(np.float32)

    def pictures(self, report: Report, *, upright: bool) -> Iterator[tuple[float, Picture]]:
        """Frames are decoded when asked for, skipped ones are not."""
        layout, times_s = self._video.facts.layout, self.times_s
        with self._reader() as reader:
            for index, time_s in enumerate(times_s):

                def rgb(index: int = index) -> U8:
                    try:
                        pixels = _without_padding(reader[index].asnumpy())
                    except Exception as error:  # decord's own errors have no other ancestor
                        raise self._unable(str(error)) from error
                    return pixels if upright else layout.unturn(pixels)

                yield float(time_s), Picture(rgb)

    @contextmanager
    def _reader(self) -> Iterator[Any]:
        assert self._video
        try:
            import decord

            decord.logging.set_level(decord.logging.QUIET)
            with opened(self.content) as file:
                reader = decord.VideoReader(file, ctx=decord.cpu(0))
        except ImportError as error:
            raise MissingDecoder(
                "decord is not installed; pip install decord, or leave out decoder='decord'"
            ) from error
        except Exception as error:  # as above
            raise self._unable(str(error)) from error
        yield reader

    def _unable(self, reason: str) -> MissingDecoder:
        return MissingDecoder(
            f"{self.name}: decord cannot read this file ({reason}); use the default decoder"
        )


def _without_padding(pixels: U8) -> U8:
    """(H, W, 3) of decord's frame: at some widths it takes padded rows for a fourth channel."""
    height, width = pixels.shape[:2]
    rows = pixels.reshape(height, -1)[:, : 3 * width]
    return np.ascontiguousarray(rows).reshape(height, width, 3)


# Demuxers that read one file and nothing else: a playlist or script that names other files or
# addresses is refused, and so is text that ffmpeg would show as a video of a terminal.
_OPTIONS = {
    "format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,gif,mpeg,mpegts,mpegvideo,flv,"
    "asf,ogg,ivf,h264,hevc,obu,av1,m4v,mxf,nut,yuv4mpegpipe,rm,dv,wav,mp3,aac,flac"
}


def _packets(box: InputContainer, stream: VideoStream, tally: Tally) -> Iterator[Packet[Any]]:
    """What can be given to the decoder; a read error ends it."""
    codec = stream.codec_context.name
    # Where frames are cut out of a byte stream, whole ones are called corrupt as well.
    from_bytes = "mpeg" in box.format.name
    try:
        for packet in box.demux(stream):
            if packet.size == 0:
                continue
            if packet.is_corrupt and not from_bytes:
                tally.damaged += 1
                continue
            tally.doubtful += packet.is_corrupt
            tally.fed += is_shown(packet, codec)
            yield packet
    except IndexError:
        pass  # all packets were read; PyAV stumbles at the end over streams that turned up later
    except (av.FFmpegError, ValueError) as error:
        tally.interrupted = str(error)


def _frames(box: InputContainer, stream: VideoStream, tally: Tally) -> Iterator[VideoFrame]:
    """Pictures in order of presentation; what cannot be decoded is counted."""
    for packet in chain(_packets(box, stream, tally), [None]):
        try:
            frames = stream.decode(packet)
        except (av.FFmpegError, ValueError):
            tally.damaged += 1
            continue
        for frame in frames:
            tally.decoded += 1
            yield frame
