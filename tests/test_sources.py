"""Images: folders in natural order, stills, animations, and what is wrong with them."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from features.clip import Clip
from features.errors import BadFrames, NoDecodableFrame, OverLimit, StoppedEarly
from features.sources import natural_key
from tests.conftest import corners, gray_steps, which


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """12 gray steps, `frame1.png` to `frame12.png`, and files that are none."""
    path = tmp_path / "frames"
    path.mkdir()
    for number, frame in enumerate(gray_steps(12)):
        Image.fromarray(frame).save(path / f"frame{number + 1}.png")
    (path / "notes.txt").write_text("not an image")
    (path / ".hidden.png").write_text("not an image either")
    return path


def test_a_folder_is_read_in_natural_order(folder: Path) -> None:
    clip = Clip.open(folder, fps=4)
    assert which(clip.frames()) == list(range(12))
    assert (clip.fps, clip.declared_frames, clip.duration_s, clip.codec) == (4, 12, 3, "png")
    assert clip.path == str(folder)
    assert clip.times_s[:3].tolist() == [0, 0.25, 0.5]


def test_natural_order() -> None:
    names = ["a10.png", "a2.png", "A1.png", "b.png", "2.png", "10.png", "a02.png"]
    expected = ["2.png", "10.png", "A1.png", "a02.png", "a2.png", "a10.png", "b.png"]
    assert sorted(names, key=natural_key) == expected


def test_images_of_a_folder_must_have_one_size(folder: Path) -> None:
    Image.fromarray(corners()).save(folder / "frame5.png")
    with pytest.raises(BadFrames, match=r"frame1.png is 48x32 and frame5.png is 64x48; resize"):
        Clip.open(folder)


def test_an_unreadable_image_is_left_out_and_said(folder: Path) -> None:
    content = (folder / "frame5.png").read_bytes()
    (folder / "frame5.png").write_bytes(content[: len(content) * 2 // 3])
    stream = Clip.open(folder).stream()
    frames = [frame.rgb for frame in stream]
    assert which(np.stack(frames)) == [0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11]
    assert stream.warnings == ["1 of 12 images could not be read"]
    with pytest.raises(StoppedEarly):
        list(Clip.open(folder, strict=True).stream())


def test_the_digest_of_a_folder_is_of_names_and_contents(folder: Path) -> None:
    before = Clip.open(folder).sha256
    (folder / "notes.txt").write_text("changed")
    assert Clip.open(folder).sha256 == before
    os.rename(folder / "frame12.png", folder / "frame13.png")
    assert Clip.open(folder).sha256 != before


def test_a_folder_within_limits(folder: Path) -> None:
    with pytest.raises(OverLimit, match="12 frames or more"):
        Clip.open(folder, max_frames=11)
    with pytest.raises(OverLimit, match=r"6.0 s long"):
        Clip.open(folder, fps=2, max_seconds=5)
    with pytest.raises(OverLimit, match="1536 pixels per frame"):
        Clip.open(folder, max_pixels=1000)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp", "tiff", "ppm"])
def test_a_still_image_is_a_clip_of_one_frame(tmp_path: Path, suffix: str) -> None:
    Image.fromarray(corners()).save(tmp_path / f"a.{suffix}", quality=100)
    clip = Clip.open(tmp_path / f"a.{suffix}")
    assert clip.times_s.tolist() == [0]
    assert np.abs(clip.frames()[0].astype(int) - corners()).mean() < 4
    assert clip.sha256 == hashlib.sha256((tmp_path / f"a.{suffix}").read_bytes()).hexdigest()


def test_animations_keep_their_own_durations(tmp_path: Path) -> None:
    images = [Image.fromarray(frame) for frame in gray_steps(4, step=40)]
    for name in ("a.webp", "a.png", "a.gif"):
        durations = [100, 300, 50, 200]
        images[0].save(tmp_path / name, save_all=True, append_images=images[1:], duration=durations)
        clip = Clip.open(tmp_path / name)
        assert clip.times_s.tolist() == pytest.approx([0, 0.1, 0.4, 0.45], abs=1e-6), name
        assert which(clip.frames(), step=40) == [0, 1, 2, 3], name
        assert clip.duration_s == pytest.approx(0.65), name


def test_image_modes(tmp_path: Path) -> None:
    ramp = np.arange(0, 256, 4, dtype=np.uint8).reshape(8, 8)
    deep = Image.fromarray(ramp.astype(np.uint16) * 257)
    deep.save(tmp_path / "deep.png")
    Image.fromarray(ramp).save(tmp_path / "gray.png")
    Image.fromarray(ramp).quantize(256).save(tmp_path / "palette.png")
    for name in ("deep.png", "gray.png", "palette.png"):
        shown = Clip.open(tmp_path / name).frames()[0]
        assert np.array_equal(shown, ramp[..., None].repeat(3, axis=2)), name


def test_a_transparent_image_lies_on_black(tmp_path: Path) -> None:
    Image.new("RGBA", (8, 8), (200, 100, 50, 51)).save(tmp_path / "a.png")
    assert Clip.open(tmp_path / "a.png").frames()[0, 0, 0].tolist() == [40, 20, 10]


def test_the_orientation_of_a_photo_is_applied(tmp_path: Path) -> None:
    image = Image.fromarray(corners())
    exif = image.getexif()
    exif[0x0112] = 6  # turn clockwise
    image.save(tmp_path / "a.png", exif=exif)
    clip = Clip.open(tmp_path / "a.png")
    assert (clip.width, clip.height) == (48, 64)
    assert np.array_equal(clip.frames()[0], np.rot90(corners(), -1))


def test_a_picture_bomb_is_refused_by_its_header() -> None:
    content = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(content, "png")
    with pytest.raises(OverLimit):
        Clip.open(content.getvalue())
    with pytest.raises(OverLimit, match="100000000 pixels per frame"):
        wide = io.BytesIO()
        Image.new("1", (10_000, 10_000)).save(wide, "png")
        Clip.open(wide.getvalue())


def test_a_cut_image(tmp_path: Path) -> None:
    Image.fromarray(corners()).save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    with pytest.raises(NoDecodableFrame, match="the image cannot be read"):
        Clip.open(content[: len(content) // 2])


def test_a_folder_that_goes_away(folder: Path) -> None:
    clip = Clip.open(folder)
    shutil.rmtree(folder)
    with pytest.raises(NoDecodableFrame, match="not a single frame"):
        clip.frames()
