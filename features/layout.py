"""Coded pixels to what a player shows: turned upright, and with square pixels."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

U8 = npt.NDArray[np.uint8]

# Pixels this close to square stay as they are: resampling a whole picture to make it one column
# wider (WebM headers round to whole pixels: 322 for 321) blurs it and corrects nothing.
SQUARE_WITHIN = 0.01
# A pixel ten times as wide as high is a broken header, not a picture.
MOST_ELONGATED = 10.0


@dataclass(frozen=True, slots=True)
class Layout:
    """How coded pixels become the shown picture: mirror, quarter turns, then square pixels.

    `turns` counts counter-clockwise quarter turns, as ffmpeg's display matrix does; `aspect` is
    the sample aspect ratio of the coded pixels (width over height of one pixel).
    """

    coded_width: int
    coded_height: int
    turns: int = 0
    mirrored: bool = False
    aspect: float = 1.0

    @property
    def rotation_deg(self) -> int:
        """Degrees counter-clockwise that make the picture upright: -90, 0, 90 or 180."""
        return (0, 90, 180, -90)[self.turns % 4]

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the shown picture."""
        width, height = self._square_size()
        return (height, width) if self.turns % 2 else (width, height)

    def show(self, coded: U8) -> U8:
        """The shown picture, (H, W, 3), of coded pixels, (h, w, 3)."""
        width, height = self._square_size()
        if coded.shape[:2] != (height, width):
            coded = resize(coded, width=width, height=height)
        if self.mirrored:
            coded = coded[:, ::-1]
        return np.ascontiguousarray(np.rot90(coded, self.turns))

    def unturn(self, shown: U8) -> U8:
        """Undo mirror and turns (for a decoder that turns without being asked)."""
        turned = np.rot90(shown, -self.turns)
        return np.ascontiguousarray(turned[:, ::-1] if self.mirrored else turned)

    def _square_size(self) -> tuple[int, int]:
        """The coded size with the short side of the pixels enlarged, so that nothing is lost."""
        square = abs(self.aspect - 1) < SQUARE_WITHIN
        if square or not 1 / MOST_ELONGATED <= self.aspect <= MOST_ELONGATED:
            return self.coded_width, self.coded_height
        if self.aspect > 1:
            return round(self.coded_width * self.aspect), self.coded_height
        return self.coded_width, round(self.coded_height / self.aspect)


def resize(pixels: U8, *, width: int, height: int) -> U8:
    """(h, w, 3) to (height, width, 3), bicubic."""
    import cv2  # here because most clips never need it

    resized: U8 = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_CUBIC)
    return resized


def turns_of_matrix(matrix: bytes) -> tuple[int, bool]:
    """(counter-clockwise quarter turns, mirrored) of a 3x3 display matrix of 32-bit integers.

    Angles between quarter turns go to the nearest one.
    """
    a, b, _, c, d = struct.unpack("=5i", matrix[:20])
    mirrored = a * d - b * c < 0
    if mirrored:  # take the mirror out first: what is left is a rotation
        a, b = -a, -b
    clockwise = math.degrees(math.atan2(b, a))
    return round(-clockwise / 90) % 4, mirrored
