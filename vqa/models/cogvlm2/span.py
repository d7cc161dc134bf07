"""Bytes that lie in several files, read as one: the parts of a split archive, never joined."""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Piece:
    """Some bytes of one file."""

    file: Path
    start: int
    size: int


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes that lie one after the other in one or several files; `name` is for messages."""

    name: str
    pieces: tuple[Piece, ...]

    @classmethod
    def of(cls, files: Sequence[Path], *, name: str) -> Span:
        """All bytes of these files, joined in this order."""
        return cls(name, tuple(Piece(file, 0, file.stat().st_size) for file in files))

    @property
    def size(self) -> int:
        """Bytes in all."""
        return sum(piece.size for piece in self.pieces)

    def cut(self, start: int, size: int, *, name: str) -> Span:
        """Those of `size` bytes from `start` on that there are."""
        pieces = []
        for piece in self.pieces:
            low, high = max(start, 0), min(start + size, piece.size)
            if low < high:
                pieces.append(Piece(piece.file, piece.start + low, high - low))
            start -= piece.size
        return Span(name, tuple(pieces))

    def open(self) -> io.BufferedReader:
        """Open for reading and seeking; one file is open at a time."""
        return io.BufferedReader(_Reader(self.pieces))

    def doubt(self) -> str:
        """Tell which file looks cut off: a part smaller than others, else the last."""
        sizes = [(piece.file.stat().st_size, piece.file.name) for piece in self.pieces]
        most, whole = max(sizes)
        for size, name in sizes[:-1]:
            if size < most:
                return f"{name} has {size} bytes where {whole} has {most}: fetch it again"
        more = ", or parts after it are missing" if len(sizes) > 1 else ""
        return f"{sizes[-1][1]} was cut off or damaged{more}: fetch it again"


class _Reader(io.RawIOBase):
    """The pieces as one seekable stream."""

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self._pieces = pieces
        self._ends = list(accumulate(piece.size for piece in pieces))
        self._at = 0
        self._open: tuple[int, io.FileIO] | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: (self._ends or [0])[-1]}
        if base[whence] + offset < 0:
            raise ValueError(f"cannot seek to {base[whence] + offset}, before the first byte")
        self._at = base[whence] + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        number = bisect_right(self._ends, self._at)
        if number == len(self._pieces):
            return 0
        piece, left = self._pieces[number], self._ends[number] - self._at
        file = self._file(number)
        file.seek(piece.start + piece.size - left)
        count = file.readinto(memoryview(buffer)[:left])
        self._at += count
        return count

    def _file(self, number: int) -> io.FileIO:
        if self._open is None or self._open[0] != number:
            self._shut()
            self._open = number, io.FileIO(self._pieces[number].file)
        return self._open[1]

    def _shut(self) -> None:
        if self._open is not None:
            self._open[1].close()
            self._open = None

    def close(self) -> None:
        self._shut()
        super().close()
