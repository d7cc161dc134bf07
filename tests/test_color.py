"""Pixel formats, colour tags and HDR, against the pictures that were encoded."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest

from features.clip import Clip
from features.color import HLG, PQ, over_black, to_rgb
from features.encode import Tags, write_clip

U8 = npt.NDArray[np.uint8]

COLOURS = np.array(
    [(191, 191, 191), (191, 191, 64), (64, 191, 191), (64, 191, 64),
     (191, 64, 191), (191, 64, 64), (64, 64, 191), (64, 64, 64)], np.uint8
)  # fmt: skip


def _bars(colours: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """Eight vertical bars, 16 pixels wide."""
    return np.broadcast_to(colours.repeat(16, axis=0), (32, 128, colours.shape[1])).copy()


def _read(path: str) -> npt.NDArray[np.int64]:
    """The colours in the middle of the bars of the first frame."""
    return Clip.open(path).at([0]).frames()[0, 16, 8::16].astype(np.int64)


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv444p10le"])
@pytest.mark.parametrize("matrix", [2, 1, 5, 6, 9])
@pytest.mark.parametrize("full_range", [False, True])
def test_matrix_and_range_are_read_from_the_tags(
    tmp_path: Path, pix_fmt: str, matrix: int, full_range: bool
) -> None:
    tags = Tags(matrix=matrix, full_range=full_range)
    path = write_clip(tmp_path / "a.mp4", [_bars(COLOURS)], pix_fmt=pix_fmt, tags=tags, crf=1)
    assert np.abs(_read(path) - COLOURS).max() <= 3


def test_the_wrong_matrix_would_be_seen(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", [_bars(COLOURS)], tags=Tags(matrix=1), crf=1)
    with av.open(path) as box:
        frame = next(box.decode(video=0))
        untagged = frame.to_ndarray(format="rgb24", src_colorspace=5)[16, 8::16].astype(np.int64)
    assert np.abs(untagged - COLOURS).max() > 10


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt", "worst"),
    [
        ("a.mkv", "ffv1", "gray", 0),
        ("a.mp4", "libx264", "gray", 2),
        ("a.mkv", "ffv1", "gray10le", 1),
        ("a.mkv", "ffv1", "gray16le", 1),
        ("a.mov", "png", "gray16be", 1),
    ],
)
def test_gray(tmp_path: Path, name: str, codec: str, pix_fmt: str, worst: int) -> None:
    ramp = np.arange(20, 240, 28, dtype=np.uint8)[:, None].repeat(3, axis=1)
    path = write_clip(tmp_path / name, [_bars(ramp)], codec=codec, pix_fmt=pix_fmt)
    assert np.abs(_read(path) - ramp).max() <= worst


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [
        ("a.mkv", "ffv1", "bgra"),
        ("a.mov", "png", "rgba"),
        ("a.mov", "png", "rgba64be"),
        ("a.mkv", "ffv1", "yuva444p"),
    ],
)
def test_transparency_is_composited_on_black(
    tmp_path: Path, name: str, codec: str, pix_fmt: str
) -> None:
    alpha = np.array([255, 255, 128, 128, 51, 51, 0, 0], np.uint8)[:, None]
    picture = _bars(np.concatenate([COLOURS, alpha], axis=1))
    path = write_clip(tmp_path / name, [picture], codec=codec, pix_fmt=pix_fmt)
    expected = COLOURS * (alpha / 255)
    assert np.abs(_read(path) - expected).max() <= 2


def test_opaque_pixels_are_not_touched() -> None:
    rgba = np.random.default_rng(0).integers(0, 256, (8, 8, 4), dtype=np.uint8)
    rgba[..., 3] = 255
    assert np.array_equal(over_black(rgba), rgba[..., :3])


def test_a_palette_is_looked_up() -> None:
    palette = np.zeros((256, 4), np.uint8)
    palette[:, 0], palette[:, 1] = 255, np.arange(256)  # alpha, red
    index = np.arange(64, dtype=np.uint8).reshape(8, 8)
    frame = av.VideoFrame.from_ndarray((index, palette), format="pal8")  # type: ignore[arg-type]
    rgb = to_rgb(frame)
    assert np.array_equal(rgb[..., 0], index)
    assert not rgb[..., 1:].any()


def _pq(nits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """SMPTE ST 2084, written down here a second time."""
    y = (nits / 10000) ** (2610 / 16384)
    return ((3424 / 4096 + 2413 / 128 * y) / (1 + 2392 / 128 * y)) ** (2523 / 32)


def _hdr(path: Path, signal: npt.NDArray[np.float64], transfer: int) -> str:
    if signal.ndim == 1:
        signal = signal[:, None].repeat(3, axis=1)
    return write_clip(
        path,
        [_bars(np.rint(signal * 65535).astype(np.uint16))] * 3,  # x265 garbles times of one frame
        codec="libx265",
        pix_fmt="yuv444p10le",
        crf=1,
        tags=Tags(matrix=9, transfer=transfer, primaries=9),
        options={"x265-params": "log-level=0"},
    )


def test_pq_is_mapped_to_an_ordinary_screen(tmp_path: Path) -> None:
    nits = np.array([0, 1, 5, 20, 50, 100, 203, 1000], np.float64)
    shown = _read(_hdr(tmp_path / "a.mp4", _pq(nits), PQ))
    assert np.ptp(shown, axis=1).max() <= 2  # neutral stays neutral
    gray = shown[:, 1]
    assert np.all(np.diff(gray) > 0)
    assert gray[0] <= 2 and gray[7] >= 253
    # Below the knee (PQ 0.495, 85 cd/m2) light is kept: signal = (nits / 203) ** (1 / 2.4).
    assert np.abs(gray[1:5] - 255 * (nits[1:5] / 203) ** (1 / 2.4)).max() <= 3
    assert 220 <= gray[6] <= 240  # HDR reference white leaves room for highlights


def test_hlg_is_mapped_to_an_ordinary_screen(tmp_path: Path) -> None:
    signal = np.array([0, 0.1, 0.2, 0.3, 0.5, 0.75, 0.9, 1.0])
    shown = _read(_hdr(tmp_path / "a.mp4", signal, HLG))
    gray = shown[:, 1]
    assert np.ptp(shown, axis=1).max() <= 2
    assert np.all(np.diff(gray) > 0)
    assert gray[0] <= 2 and gray[7] >= 253
    assert 220 <= gray[5] <= 240  # 75 % is reference white in HLG too (BT.2408)


def test_hdr_red_stays_red(tmp_path: Path) -> None:
    light = np.full((8, 3), 5.0)
    light[:, 0] = 100
    red, green, blue = _read(_hdr(tmp_path / "a.mp4", _pq(light), PQ))[3]
    assert red > 150
    assert max(green, blue) < 60


def test_wide_gamut_keeps_neutrals_and_widens_colours(tmp_path: Path) -> None:
    path = write_clip(
        tmp_path / "a.mp4",
        [_bars(COLOURS)],
        pix_fmt="yuv444p10le",
        crf=1,
        tags=Tags(matrix=9, transfer=14, primaries=9),
    )
    shown = _read(path)
    assert np.abs(shown[[0, 7]] - COLOURS[[0, 7]]).max() <= 2
    assert shown[5, 0] > COLOURS[5, 0] and shown[5, 1] < COLOURS[5, 1]  # BT.2020 red is redder


def test_deep_formats_give_the_same_bytes_on_any_number_of_threads(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 65536, (62, 94, 3), dtype=np.uint16)
    path = write_clip(tmp_path / "a.mkv", [noise], codec="ffv1", pix_fmt="yuv420p10le")
    with av.open(path) as box:
        frame = next(box.decode(video=0))
        once = to_rgb(frame)
        exact = 0x2 | 0x40000 | 0x80000
        for threads in (1, 2, 3, 8):
            again = frame.to_ndarray(format="rgb24", interpolation=exact, threads=threads)
            assert np.array_equal(once, again)
