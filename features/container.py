"""What is at a path, what a file is by its first bytes, and whether its end is there.

Nothing is decoded here, and nothing but regular files is ever opened.
"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Literal

from features.errors import (
    BadFrames,
    BrokenContainer,
    EmptyFile,
    MissingFile,
    NotAFile,
    NotAVideo,
    PermissionDenied,
    UnreadableVideo,
)

Kind = Literal["folder", "image", "media", "text", "unknown"]
Content = str | bytes  # a path, or the bytes of a file

_HEAD = 512
_IMAGES = (b"\x89PNG", b"\xff\xd8\xff", b"BM", b"II*\0", b"MM\0*", b"P6", b"P5")
_MEDIA = (b"GIF8", b"\x1aE\xdf\xa3", b"OggS", b"FLV", b"DKIF", b"ID3", b"fLaC", b"YUV4MPEG2",
          b"\0\0\x01\xba", b"\0\0\x01\xb3", b"\0\0\0\x01", b"0&\xb2u", b"\xff\xfb", b"\xff\xf1",
          b"RIFF", b".RMF")  # fmt: skip
_BOXES = (b"ftyp", b"moov", b"mdat", b"moof", b"free", b"skip", b"wide", b"styp", b"sidx")


def content_of(source: Any) -> tuple[Content, str]:
    """(path or bytes, name for messages) of anything a clip can be opened from.

    File objects are read whole. Raises a subclass of `UnreadableVideo` for what is not there, may
    not be read, is empty, or is a device or pipe.
    """
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _some(bytes(source), "bytes"), f"{len(source)} bytes"
    if hasattr(source, "read"):
        return _read(source)
    try:
        path = os.fspath(source)
    except TypeError:
        raise BadFrames(
            f"cannot open a {type(source).__name__}; expected a path, bytes or a binary file, or "
            "use Clip.from_frames for frames in memory"
        ) from None
    path = os.fsdecode(path)
    _check(path)
    return path, path


def kind_of(content: Content) -> Kind:
    """What a path or the bytes of a file look like."""
    if isinstance(content, str) and os.path.isdir(content):
        return "folder"
    with opened(content) as file:
        head = file.read(_HEAD)
    if _is_text(head) and not head.startswith(b"YUV4MPEG2"):
        return "text"  # first: two letters are soon found at the start of a sentence
    if head.startswith(_IMAGES) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP"):
        return "image"
    transport_stream = head[:1] == b"G" and head[188:189] == b"G"
    if head.startswith(_MEDIA) or head[4:8] in _BOXES or transport_stream:
        return "media"
    return "unknown"


def opened(content: Content) -> BinaryIO:
    """A binary file over a path or bytes; the caller closes it."""
    if isinstance(content, bytes):
        return io.BytesIO(content)
    with _typed(content):
        return open(content, "rb")


def refusal(content: Content, name: str, reason: object) -> UnreadableVideo:
    """The error for a file that no demuxer takes."""
    kind = kind_of(content)
    if kind == "media":
        return BrokenContainer(
            f"{name}: the container's header or index is missing or damaged ({reason}), as after "
            "an interrupted download or recording; get the file again or repair it"
        )
    what = "a text file" if kind == "text" else "in no video or image format that we know"
    return NotAVideo(
        f"{name}: {what}; expected a video (mp4, webm, mkv, mov, avi, mpg, gif ...), an image or "
        "a folder of images"
    )


def _read(file: BinaryIO) -> tuple[bytes, str]:
    name = getattr(file, "name", None)
    name = name if isinstance(name, str) else "file object"
    if file.seekable():
        file.seek(0)  # an upload that was just written stands at its end
    data = file.read()
    if not isinstance(data, bytes):
        raise BadFrames(f"{name}: opened as text; open it in binary mode ('rb')")
    return _some(data, name), name


def _some(data: bytes, name: str) -> bytes:
    if not data:
        raise EmptyFile(f"{name}: 0 bytes; was it written completely?")
    return data


def _check(path: str) -> None:
    with _typed(path):
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            os.scandir(path).close()
            return
        if not stat.S_ISREG(mode):
            raise NotAFile(
                f"{path}: a device, pipe or socket, not a file; save the video to a file, or "
                "pass its bytes"
            )
        with open(path, "rb") as file:
            if not file.read(1):
                raise EmptyFile(f"{path}: 0 bytes; was it downloaded completely?")


@contextmanager
def _typed(path: str) -> Iterator[None]:
    """The operating system's errors as ours."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError):
        raise MissingFile(
            f"{path}: no such file; check the path (relative ones start at {Path.cwd()})"
        ) from None
    except PermissionError:
        raise PermissionDenied(f"{path}: permission denied; make it readable for you") from None
    except (OSError, ValueError) as error:  # a name with a zero byte is a ValueError
        raise UnreadableVideo(f"{path!r}: cannot be opened ({error}); check the path") from None


def _is_text(head: bytes) -> bool:
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4:  # not just a character cut in half at the end
            return False
        text = head[: error.start].decode("utf-8")
    return all(char.isprintable() or char.isspace() for char in text)
