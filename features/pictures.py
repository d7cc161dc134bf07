"""Still images: opened with Pillow within limits, and turned into 8-bit RGB."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from features.color import over_black
from features.errors import NoDecodableFrame, OverLimit, VqaError
from features.limits import Limits

U8 = npt.NDArray[np.uint8]

_ORIENTATION, _UPRIGHT, _SIDEWAYS = 0x0112, 1, (5, 6, 7, 8)  # EXIF


@contextmanager
def image_at(file: Any, name: str, limits: Limits) -> Iterator[Image.Image]:
    """An image whose header was read and whose size is within the limits.

    Whatever goes wrong with it, while it is open too, is a `NoDecodableFrame`.
    """
    try:
        with warnings.catch_warnings():
            # Pillow's own limit is no error below twice its value; ours is checked here.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(file)
        with image:
            limits.check_size(name, *image.size)
            yield image
    except VqaError:
        raise
    except Image.DecompressionBombError as error:
        raise OverLimit(f"{name}: {error}; scale it down") from error
    except Exception as error:  # damaged files make Pillow's plugins raise nearly anything
        raise NoDecodableFrame(
            f"{name}: the image cannot be read ({error}); is the file complete?"
        ) from error


def turned_up(image: Image.Image) -> Image.Image:
    """The image as its EXIF orientation says it is to be shown, in its own mode."""
    return image if _orientation(image) == _UPRIGHT else ImageOps.exif_transpose(image)


def image_rgb(image: Image.Image, *, upright: bool = True) -> U8:
    """(H, W, 3) uint8 of a Pillow image of any mode; transparency is composited on black."""
    if upright:
        image = turned_up(image)
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        return _gray(np.asarray(image), image.mode)
    if "A" in image.getbands() or "transparency" in image.info:
        return over_black(np.asarray(image.convert("RGBA")))
    return np.array(image.convert("RGB"))


def shown_size(image: Image.Image) -> tuple[int, int]:
    """(width, height) after the turn that the EXIF orientation asks for."""
    width, height = image.size
    return (height, width) if _orientation(image) in _SIDEWAYS else (width, height)


def _orientation(image: Image.Image) -> int:
    # Asked for EXIF that a PNG does not announce, Pillow decodes all of it to look behind.
    if image.format == "PNG" and "exif" not in image.info:
        return _UPRIGHT
    return int(image.getexif().get(_ORIENTATION, _UPRIGHT))


def _gray(values: npt.NDArray[Any], mode: str) -> U8:
    # Mode I holds 16-bit PNGs in 32-bit integers; F says nothing about its range.
    scaled = values if mode == "F" else values.astype(np.float64) / 257
    gray = np.rint(np.clip(scaled, 0, 255)).astype(np.uint8)
    return np.repeat(gray[..., None], 3, axis=2)
