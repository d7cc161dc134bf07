"""Whether the end of a file is there: the sizes written in it against the bytes it has.

Demuxers stop without a word where a file was cut off. Most formats say how long their parts are,
so a reader that only looks at sizes can tell. It never guesses: where a format does not say, a file
counts as whole.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import BinaryIO

_TAIL = 1 << 16  # bytes searched for the last pack of an MPEG program stream


def is_cut(file: BinaryIO) -> bool:
    """Whether bytes are missing at the end of a seekable file."""
    size = file.seek(0, os.SEEK_END)
    head = _at(file, 0, 12)
    for magic, check in _CHECKS.items():
        if head[magic[0] : magic[0] + len(magic[1])] == magic[1]:
            return check(file, size)
    return False


def before_cut_index(file: BinaryIO) -> int | None:
    """Bytes of an mp4 before the fragment in whose index it was cut; None for other files.

    ffmpeg refuses such a file as a whole, and takes the part before.
    """
    size = file.seek(0, os.SEEK_END)
    boxes = list(_boxes(file, size))
    fragments = [name for name, _, _ in boxes].count(b"moof")
    if fragments > 1 and boxes[-1][0] == b"moof" and boxes[-1][2] > size:
        return boxes[-1][1]
    return None


def _mp4(file: BinaryIO, size: int) -> bool:
    boxes = list(_boxes(file, size))
    if not boxes:
        return False
    name, _, end = boxes[-1]
    return end > size or name == b"moof"  # a fragment's index without its pictures


def _boxes(file: BinaryIO, size: int) -> Iterator[tuple[bytes, int, int]]:
    """(name, start, end) of the top-level boxes (ISO/IEC 14496-12) up to the end of the file.

    32 bits of length and a name; length 1 = 64 bits follow, 0 = to the end of the file.
    """
    place = 0
    while size - place >= 8:
        header = _at(file, place, 16)
        length, name = int.from_bytes(header[:4], "big"), header[4:8]
        if length == 1:
            length = int.from_bytes(header[8:16], "big")
        if length < 8 or not name.isalnum():  # to the end of the file, or not a box any more
            return
        yield name, place, place + length
        place += length


def _matroska(file: BinaryIO, size: int) -> bool:
    """EBML (RFC 8794): the header, then one segment of the rest; all ones = length unknown."""
    place = 0
    for id_length in (4, 4):
        header = _at(file, place + id_length, 8)
        if not header or not header[0]:
            return False
        width = 9 - header[0].bit_length()
        value = int.from_bytes(header[:width], "big") & ((1 << 7 * width) - 1)
        if value == (1 << 7 * width) - 1:
            return False
        place += id_length + width + value
    return place > size


def _riff(file: BinaryIO, size: int) -> bool:
    """AVI: one RIFF chunk, and more of them in files over 1 GB. Length 0 = never filled in."""
    place = 0
    while size - place >= 8:
        header = _at(file, place, 8)
        length = int.from_bytes(header[4:8], "little")
        if header[:4] != b"RIFF" or length in (0, 0xFFFFFFFF):
            return False
        place += 8 + length
    return place > size + 1  # the padding byte at the end may be left out


def _program_stream(file: BinaryIO, size: int) -> bool:
    """MPEG-1 and MPEG-2 program streams: walk the packets of the last pack."""
    start = max(0, size - _TAIL)
    tail = _at(file, start, _TAIL)
    place = tail.rfind(b"\0\0\x01\xba")
    while 0 <= place < len(tail):
        if tail[place : place + 3] != b"\0\0\x01"[: len(tail) - place]:
            return False  # padding or something else behind the stream
        if len(tail) - place < 6:
            return tail[place + 3 : place + 4] != b"\xb9"  # end code
        kind = tail[place + 3]
        if kind == 0xB9:
            return False
        if kind == 0xBA:
            mpeg2 = tail[place + 4] >> 6 == 1
            stuffing = tail[place + 13] & 7 if mpeg2 and len(tail) > place + 13 else 0
            place += 14 + stuffing if mpeg2 else 12
        else:
            place += 6 + int.from_bytes(tail[place + 4 : place + 6], "big")
    return place > len(tail)


def _transport_stream(file: BinaryIO, size: int) -> bool:
    """MPEG transport streams: packets of 188 bytes."""
    return size % 188 != 0 and _at(file, 188, 1) == b"G"


def _flv(file: BinaryIO, size: int) -> bool:
    """Tags of 11 bytes and a body, each followed by its length."""
    place = 9 + 4
    while size - place >= 11:
        header = _at(file, place, 4)
        if header[0] & 0x1F not in (8, 9, 18):
            return False
        place += 11 + int.from_bytes(header[1:4], "big") + 4
    return place != size


def _gif(file: BinaryIO, size: int) -> bool:
    """Blocks up to the trailer `;` (GIF89a); behind it may be anything."""
    data = _at(file, 0, size)
    place = 13 + _palette(data, 10)
    while place < size:
        if data[place] == 0x3B:
            return False
        if data[place] == 0x21:  # extension
            place = _sub_blocks(data, place + 2)
        elif data[place] == 0x2C:  # image
            place = _sub_blocks(data, place + 11 + _palette(data, place + 9))
        else:
            return False  # damaged rather than cut
    return True


def _palette(data: bytes, place: int) -> int:
    """Bytes of the colour table that the flags at `place` announce."""
    flags = data[place] if place < len(data) else 0
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _sub_blocks(data: bytes, place: int) -> int:
    while place < len(data) and data[place]:
        place += 1 + data[place]
    return place + 1


def _at(file: BinaryIO, place: int, count: int) -> bytes:
    file.seek(place)
    return file.read(count)


_CHECKS: dict[tuple[int, bytes], Callable[[BinaryIO, int], bool]] = {
    (4, b"ftyp"): _mp4,
    (4, b"moov"): _mp4,
    (4, b"styp"): _mp4,
    (4, b"wide"): _mp4,
    (4, b"mdat"): _mp4,
    (0, b"\x1aE\xdf\xa3"): _matroska,
    (0, b"RIFF"): _riff,
    (0, b"\0\0\x01\xba"): _program_stream,
    (0, b"FLV"): _flv,
    (0, b"GIF8"): _gif,
    (0, b"G"): _transport_stream,  # one letter: behind the longer names
}
