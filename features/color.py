"""From a decoded picture in any pixel format to 8-bit RGB for an ordinary (SDR, BT.709) screen.

Ordinary 8-bit video goes through swscale's default conversion, which is what decord and ffmpeg's
`rgb24` give bit for bit: matrix and range as tagged, BT.601 and limited range where the file says
nothing. (Untagged HD is BT.709 more often than not, but the published scores were made this way.)
Deeper formats use swscale's bit-exact rounding, so that every processor gives the same bytes.

Wide gamut and HDR are mapped here, in numpy with tables, with fixed constants rather than the
clip's own light levels: a map that follows the content makes flicker that is not in the clip.

- signal to light: PQ and HLG after Rec. ITU-R BT.2100-2 (HLG with its OOTF for a 1000 cd/m2
  display, system gamma 1.2); SDR wide gamut with the 2.4 power of BT.1886, as in BT.2087-0.
- highlights: the EETF of Report ITU-R BT.2390-8, 5.4.1, from 1000 to 203 cd/m2 (HDR reference
  white, Report BT.2408), on the largest of R, G, B, so that hues stay.
- primaries: BT.2020 or Display P3 to BT.709 in linear light, out-of-gamut values clipped.
- light to signal: the inverse of BT.1886.

Transparency is composited on black, which is what video players show.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]

SDR_PEAK_NITS = 203.0  # HDR reference white, Report ITU-R BT.2408
HDR_PEAK_NITS = 1000.0  # the usual mastering display; brighter highlights clip to white

# Rec. ITU-T H.273: transfer characteristics and colour primaries by code point
PQ, HLG = 16, 18
_UNSPECIFIED, _BT2020, _DISPLAY_P3 = 2, 9, 12
_TO_BT709 = {
    _BT2020: ((1.660491, -0.587641, -0.072850), (-0.124550, 1.132900, -0.008349),
        (-0.018151, -0.100579, 1.118730)),  # BT.2020, matrix of Report ITU-R BT.2407
    _DISPLAY_P3: ((1.224940, -0.224940, 0.0), (-0.042057, 1.042057, 0.0),
         (-0.019638, -0.078636, 1.098274)),  # SMPTE EG 432-1
}  # fmt: skip
_BT2020_LUMA = (0.2627, 0.6780, 0.0593)

# Formats whose first plane is 8-bit luma, and those of them that fill the range by definition
_PLANAR = frozenset(
    f"yuv{j}{chroma}p" for j in ("", "j") for chroma in (420, 422, 440, 444, 411, 410)
) | {"nv12", "nv21", "gray"}
_ALWAYS_FULL = frozenset(name for name in _PLANAR if name.startswith(("yuvj", "gray")))
_FULL_RANGE = 2  # AVCOL_RANGE_JPEG
_STRETCH = (np.clip(np.arange(256) - 16, 0, 219) * 255 // 219).astype(np.uint8)

# swscale flags: bilinear chroma with accurate rounding, the same on every processor
_EXACT = 0x2 | 0x40000 | 0x80000
_TOP = 65535  # last index of every table
_ROWS = 64  # rows mapped at a time: the intermediate floats stay in the cache


class DecodedFrame(Protocol):
    """The part of `av.VideoFrame` that is used here (this file opens no decoder)."""

    color_range: int
    color_trc: int
    color_primaries: int

    @property
    def format(self) -> Any:
        """Pixel format: `name`, `components`, `is_rgb`."""

    @property
    def width(self) -> int:
        """Pixels across, as coded."""

    @property
    def height(self) -> int:
        """Pixels down, as coded."""

    @property
    def planes(self) -> Any:
        """Memory of each plane, with its `line_size` in bytes."""

    def to_ndarray(self, **kwargs: Any) -> Any:
        """Pixels in another format."""


def to_rgb(frame: DecodedFrame) -> U8:
    """8-bit RGB, shape (H, W, 3), of a decoded picture at its coded size."""
    if frame.color_trc in (PQ, HLG):
        return _map_light(_deep_rgb(frame), frame.color_trc, frame.color_primaries)
    if frame.color_primaries in _TO_BT709:
        return _map_light(_deep_rgb(frame), None, frame.color_primaries)
    components = frame.format.components
    if any(part.is_alpha for part in components):
        return over_black(frame.to_ndarray(format="rgba", threads=1))
    if max(part.bits for part in components) > 8:
        pixels = frame.to_ndarray(format="rgb24", interpolation=_EXACT, threads=1)
    else:
        # One thread: starting swscale's threads costs more than they save on a frame.
        pixels = frame.to_ndarray(format="rgb24", threads=1)
    return np.ascontiguousarray(pixels)


def to_luma(frame: DecodedFrame) -> U8 | None:
    """Luma as it was coded, (H, W) uint8, stretched to full range as ffmpeg's filters do.

    RGB cannot tell it exactly: strong colours are clipped on the way there. None for pictures that
    carry no 8-bit luma plane.
    """
    if frame.format.name not in _PLANAR or frame.color_trc in (PQ, HLG):
        return None
    plane = frame.planes[0]
    rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
    luma = rows[: frame.height, : frame.width]
    if frame.color_range == _FULL_RANGE or frame.format.name in _ALWAYS_FULL:
        return np.ascontiguousarray(luma)
    return np.asarray(cv2.LUT(luma, _STRETCH), np.uint8)


def over_black(rgba: npt.NDArray[Any]) -> U8:
    """(H, W, 4) uint8 RGBA, straight alpha, composited on black, to (H, W, 3)."""
    alpha = rgba[..., 3:].astype(np.uint16)
    opaque = bool((alpha == 255).all())
    rgb = rgba[..., :3] if opaque else (rgba[..., :3] * alpha + 127) // 255
    return np.ascontiguousarray(rgb, dtype=np.uint8)


def _deep_rgb(frame: DecodedFrame) -> npt.NDArray[np.uint16]:
    deep: npt.NDArray[np.uint16] = frame.to_ndarray(
        format="rgb48le", interpolation=_EXACT, threads=1
    )
    return deep


def _map_light(rgb16: npt.NDArray[np.uint16], transfer: int | None, primaries: int) -> U8:
    out = np.empty(rgb16.shape, np.uint8)
    for top in range(0, len(rgb16), _ROWS):
        rows = slice(top, top + _ROWS)
        out[rows] = _map_rows(rgb16[rows], transfer, primaries)
    return out


def _map_rows(rgb16: npt.NDArray[np.uint16], transfer: int | None, primaries: int) -> U8:
    light = _to_light(transfer)[rgb16]  # 1 = HDR_PEAK_NITS, or SDR white
    if transfer == HLG:
        luma = sum(np.float32(k) * light[..., c] for c, k in enumerate(_BT2020_LUMA))
        light *= _look_up(_hlg_ootf(), np.sqrt(luma))[..., None]
    if transfer is not None:
        largest = np.sqrt(np.sqrt(light.max(axis=-1)))
        light *= _look_up(_highlight_gain(), largest)[..., None]
    if transfer is not None and primaries == _UNSPECIFIED:
        primaries = _BT2020  # HDR is
    light = _to_bt709(light, _TO_BT709.get(primaries))
    signal: U8 = _look_up(_to_signal(), np.sqrt(np.clip(light, 0, 1)))
    return signal


def _to_bt709(light: F32, matrix: tuple[tuple[float, ...], ...] | None) -> F32:
    if matrix is None:
        return light
    # Written out instead of `@`: BLAS may sum in another order on another machine.
    rows = [sum(np.float32(k) * light[..., c] for c, k in enumerate(row)) for row in matrix]
    return np.stack(rows, axis=-1)


def _look_up(table: npt.NDArray[Any], position: F32) -> Any:
    return table[np.rint(np.clip(position, 0, 1) * np.float32(_TOP)).astype(np.int32)]


def _axis() -> npt.NDArray[np.float64]:
    return np.arange(_TOP + 1) / _TOP


@lru_cache(maxsize=3)
def _to_light(transfer: int | None) -> F32:
    signal = _axis()
    if transfer == PQ:
        return (_pq_to_nits(signal) / HDR_PEAK_NITS).astype(np.float32)
    if transfer == HLG:  # inverse OETF of BT.2100-2, table 5
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        scene = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)
        return np.asarray(scene, np.float32)
    return np.asarray(signal**2.4, np.float32)


@lru_cache(maxsize=1)
def _hlg_ootf() -> F32:
    """Gain by the square root of scene luminance: luminance to the power gamma - 1 = 0.2."""
    return (_axis() ** 0.4).astype(np.float32)


@lru_cache(maxsize=1)
def _highlight_gain() -> F32:
    """What light is multiplied with, by the fourth root of light, so that 1 becomes SDR white."""
    light = np.maximum(_axis(), 1 / _TOP) ** 4
    peak = _nits_to_pq(np.array(HDR_PEAK_NITS))
    mapped = _eetf(_nits_to_pq(light * HDR_PEAK_NITS) / peak) * peak
    return np.asarray(_pq_to_nits(mapped) / SDR_PEAK_NITS / light, np.float32)


def _eetf(signal: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Report ITU-R BT.2390-8, 5.4.1: straight below the knee, a Hermite spline above it."""
    top = float(_nits_to_pq(np.array(SDR_PEAK_NITS)) / _nits_to_pq(np.array(HDR_PEAK_NITS)))
    knee = 1.5 * top - 0.5
    t = (np.maximum(signal, knee) - knee) / (1 - knee)
    spline = (
        (2 * t**3 - 3 * t**2 + 1) * knee
        + (t**3 - 2 * t**2 + t) * (1 - knee)
        + (-2 * t**3 + 3 * t**2) * top
    )
    return np.where(signal < knee, signal, spline)


@lru_cache(maxsize=1)
def _to_signal() -> U8:
    """8-bit signal by the square root of light (a linear axis would be too coarse near black)."""
    return np.rint(255 * _axis() ** (2 / 2.4)).astype(np.uint8)


_M1, _M2 = 2610 / 16384, 2523 / 4096 * 128  # SMPTE ST 2084
_C1, _C2, _C3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32


def _pq_to_nits(signal: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    root = signal ** (1 / _M2)
    return 10000 * (np.maximum(root - _C1, 0) / (_C2 - _C3 * root)) ** (1 / _M1)


def _nits_to_pq(nits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    root = (nits / 10000) ** _M1
    return ((_C1 + _C2 * root) / (1 + _C3 * root)) ** _M2
