"""Writing clips: what was asked for is in the file."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from features.clip import Clip
from features.encode import repeat_clip, write_clip
from tests.conftest import busy, corners, gray_steps, which


def test_frames_come_back_in_order_at_the_rate_asked_for(tmp_path: Path) -> None:
    clip = Clip.open(write_clip(tmp_path / "a.mp4", gray_steps(12), fps=Fraction(30000, 1001)))
    assert which(clip.frames()) == list(range(12))
    assert clip.fps == pytest.approx(29.97, abs=0.001)


def test_times_make_a_variable_frame_rate(tmp_path: Path) -> None:
    times_s = [0, 0.1, 0.5, 0.6, 2]
    clip = Clip.open(write_clip(tmp_path / "vfr.mp4", gray_steps(5), times_s=times_s))
    np.testing.assert_allclose(clip.times_s, times_s, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [
        ("a.gif", "gif", "rgb8"),
        ("a.avi", "mjpeg", "yuvj420p"),
        ("a.mpg", "mpeg1video", "yuv420p"),
        ("a.webp", "libwebp_anim", "yuv420p"),
        ("a.webm", "libvpx-vp9", "yuv420p"),
        ("a.mkv", "ffv1", "yuv444p"),
        ("a.mov", "prores_ks", "yuv422p10le"),
    ],
)
def test_other_containers_and_codecs(tmp_path: Path, name: str, codec: str, pix_fmt: str) -> None:
    frames = gray_steps(6, step=40)
    path = write_clip(tmp_path / name, frames, fps=25, codec=codec, pix_fmt=pix_fmt)
    assert which(Clip.open(path).frames(), step=40) == list(range(6))


def test_lossless_is_lossless(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mkv", [corners()], codec="ffv1", pix_fmt="bgr0")
    assert np.array_equal(Clip.open(path).frames()[0], corners())


def test_the_same_frames_give_the_same_bytes(tmp_path: Path) -> None:
    paths = [write_clip(tmp_path / f"{i}.mp4", busy(20, width=320, height=176)) for i in range(4)]
    assert len({Clip.open(path).sha256 for path in paths}) == 1


def test_no_frames_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no frames to write"):
        write_clip(tmp_path / "a.mp4", [])


def test_times_must_match_the_frames(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="zip"):
        write_clip(tmp_path / "a.mp4", gray_steps(3), times_s=[0, 1])


def test_a_clip_in_a_row_keeps_its_rate(tmp_path: Path, steps_mp4: str) -> None:
    clip = Clip.open(repeat_clip(steps_mp4, tmp_path / "long.mp4", times=3))
    assert which(clip.frames()) == list(range(20)) * 3
    np.testing.assert_allclose(np.diff(clip.times_s), 1 / 8, atol=1e-4)
