"""What cannot be read is refused with a typed, helpful error; what breaks off is said."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from features.clip import Clip
from features.encode import write_clip
from features.errors import (
    BadFrames,
    BrokenContainer,
    EmptyFile,
    MissingFile,
    NoDecodableFrame,
    NoImages,
    NotAFile,
    NotAVideo,
    NoVideoStream,
    OverLimit,
    PermissionDenied,
    StoppedEarly,
    UnreadableVideo,
)
from tests.conftest import busy, gray_steps


def _warnings(source: str | bytes | Path) -> tuple[int, list[str]]:
    stream = Clip.open(source).stream()
    return sum(1 for _ in stream), stream.warnings


def test_a_missing_file_says_where_it_looked(tmp_path: Path) -> None:
    with pytest.raises(MissingFile, match=r"nothing.mp4: no such file; check the path"):
        Clip.open(tmp_path / "nothing.mp4")


def test_a_path_below_a_file_is_missing(steps_mp4: str) -> None:
    with pytest.raises(MissingFile):
        Clip.open(steps_mp4 + "/inside.mp4")


def test_a_file_that_goes_away_after_opening_is_missing(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", gray_steps(3))
    clip = Clip.open(path)
    os.remove(path)
    with pytest.raises(MissingFile):
        clip.frames()


def test_zero_bytes(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    with pytest.raises(EmptyFile, match="0 bytes"):
        Clip.open(tmp_path / "a.mp4")
    with pytest.raises(EmptyFile, match="0 bytes"):
        Clip.open(b"")


@pytest.mark.parametrize(
    "text",
    ["hello, world\n", "#EXTM3U\n#EXTINF:9,\nclip.mp4\n", "ffconcat version 1.0\nfile a.mp4\n"],
)
def test_text_and_playlists_are_no_videos(tmp_path: Path, text: str) -> None:
    (tmp_path / "notes.txt").write_text(text * 50)
    with pytest.raises(NotAVideo, match=r"notes.txt: a text file; expected a video"):
        Clip.open(tmp_path / "notes.txt")


def test_noise_is_no_video() -> None:
    with pytest.raises(NotAVideo, match="in no video or image format that we know"):
        Clip.open(random.Random(1).randbytes(5000))


def test_sound_alone(tmp_path: Path) -> None:
    path = str(tmp_path / "a.m4a")
    with av.open(path, "w") as box:
        stream = box.add_stream("aac", rate=44100)
        for index in range(20):
            silence = np.zeros((2, 1024), np.float32)
            frame = av.AudioFrame.from_ndarray(silence, format="fltp", layout="stereo")
            frame.sample_rate, frame.pts = 44100, index * 1024
            box.mux(stream.encode(frame))
        box.mux(stream.encode(None))
    with pytest.raises(NoVideoStream, match=r"holds no video stream \(audio only\?\)"):
        Clip.open(path)


def test_an_mp4_without_its_index(tmp_path: Path) -> None:
    content = Path(write_clip(tmp_path / "a.mp4", busy(20))).read_bytes()
    with pytest.raises(BrokenContainer, match="index is missing or damaged"):
        Clip.open(content[: len(content) * 6 // 10])


def test_an_mp4_whose_pictures_are_gone(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", busy(5))
    content = bytearray(Path(path).read_bytes())
    start = content.index(b"mdat") + 4
    end = content.index(b"moov") - 4
    content[start:end] = bytes(end - start)
    with pytest.raises(NoDecodableFrame, match="not a single frame could be decoded"):
        Clip.open(bytes(content))


def test_a_file_we_may_not_read(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", gray_steps(2))
    os.chmod(path, 0)
    before = os.geteuid()
    try:
        if before == 0:
            os.seteuid(65534)  # root may read everything, nobody may not
        with pytest.raises(PermissionDenied, match="permission denied; make it readable"):
            Clip.open(path)
    finally:
        os.seteuid(before)


def test_pipes_and_devices_are_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    for path in (tmp_path / "pipe.mp4", "/dev/zero"):
        with pytest.raises(NotAFile, match="a device, pipe or socket"):
            Clip.open(path)


@pytest.mark.parametrize("path", ["a\0b.mp4", "x" * 5000])
def test_impossible_names(path: str) -> None:
    with pytest.raises(UnreadableVideo, match="cannot be opened"):
        Clip.open(path)


def test_an_address_is_a_missing_file_and_nothing_is_fetched() -> None:
    with pytest.raises(MissingFile):
        Clip.open("http://localhost:9/clip.mp4")


def test_a_name_that_ffmpeg_would_expand_is_only_a_name(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", gray_steps(3))
    odd = tmp_path / "concat:50%03d|x.mp4"
    os.rename(path, odd)
    assert len(Clip.open(odd).times_s) == 3


def test_what_is_no_source_at_all() -> None:
    with pytest.raises(BadFrames, match="cannot open a int; expected a path"):
        Clip.open(3)  # type: ignore[arg-type]


def test_a_file_opened_as_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    with open(tmp_path / "a.txt") as file, pytest.raises(BadFrames, match="binary mode"):
        Clip.open(file)  # type: ignore[arg-type]


def test_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(NoImages, match=r"a folder without images; expected \*.bmp"):
        Clip.open(tmp_path)


def test_limits_are_checked_from_the_header(steps_mp4: str) -> None:
    with pytest.raises(OverLimit, match="48x32 is 1536 pixels per frame, the limit is 1535"):
        Clip.open(steps_mp4, max_pixels=1535)
    with pytest.raises(OverLimit, match=r"2.5 s long, the limit is 2 s"):
        Clip.open(steps_mp4, max_seconds=2)
    with pytest.raises(OverLimit, match="20 frames or more, the limit is 19"):
        Clip.open(steps_mp4, max_frames=19)
    assert Clip.open(steps_mp4, max_pixels=1536, max_seconds=2.5, max_frames=20).fps == 8


def test_limits_are_kept_where_the_header_is_silent(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mkv", gray_steps(20))
    clip = Clip.open(path, max_frames=10)
    with pytest.raises(OverLimit, match="11 frames or more"):
        _ = clip.times_s
    stream = clip.stream()
    with pytest.raises(OverLimit, match="11 frames or more"):
        list(stream)
    assert stream.decoded == 10


def test_a_ten_minute_clip_in_full_hd_is_within_the_limits() -> None:
    from features.limits import Limits

    Limits().check_size("clip", 1920, 1080)
    Limits().check_seconds("clip", 600)
    Limits().check_frames("clip", 600 * 60)


TRUNCATED = [
    ("a.mp4", "libx264", "yuv420p", {"movflags": "faststart"}),
    ("frag.mp4", "libx264", "yuv420p", {"movflags": "frag_keyframe+empty_moov"}),
    ("a.mkv", "libx264", "yuv420p", {}),
    ("a.webm", "libvpx", "yuv420p", {}),
    ("a.gif", "gif", "rgb8", {}),
    ("a.avi", "mjpeg", "yuvj420p", {}),
    ("b.avi", "mpeg4", "yuv420p", {}),
    ("a.mpg", "mpeg1video", "yuv420p", {}),
    ("a.ts", "libx264", "yuv420p", {}),
    ("a.flv", "libx264", "yuv420p", {}),
]


@pytest.mark.parametrize(("name", "codec", "pix_fmt", "container_options"), TRUNCATED)
def test_a_clip_that_stops_early_gives_its_frames_and_says_so(
    tmp_path: Path, name: str, codec: str, pix_fmt: str, container_options: dict[str, str]
) -> None:
    path = write_clip(
        tmp_path / name,
        busy(40),
        fps=25,
        codec=codec,
        pix_fmt=pix_fmt,
        options={"g": "10"},
        container_options=container_options,
    )
    content = Path(path).read_bytes()
    assert _warnings(content) == (40, [])
    counts = []
    for tenths in range(1, 10):
        # An odd length never ends on the 188 or 2048 bytes that a stream's packets have.
        part = content[: len(content) * tenths // 10 // 2 * 2 + 1]
        try:
            decoded, warnings = _warnings(part)
        except UnreadableVideo:
            decoded, warnings = 0, ["refused"]
        assert warnings, (tenths, decoded)
        counts.append(decoded)
        if decoded:
            with pytest.raises(StoppedEarly, match="get the whole file, or read it without strict"):
                list(Clip.open(part, strict=True).stream())
    assert counts == sorted(counts)
    assert counts[-1] >= 30


def test_the_warning_counts_against_the_declared_frames(tmp_path: Path) -> None:
    options = {"movflags": "faststart"}
    path = write_clip(tmp_path / "a.mp4", busy(49), container_options=options)
    content = Path(path).read_bytes()
    decoded, warnings = _warnings(content[: len(content) * 6 // 10])
    assert 10 < decoded < 40
    assert warnings[0] == f"{decoded} of 49 declared frames decoded"


def test_a_lost_frame_does_not_shift_those_after_it(tmp_path: Path) -> None:
    path = write_clip(
        tmp_path / "a.mkv", gray_steps(20, step=12), codec="mjpeg", crf=None, pix_fmt="yuvj420p"
    )
    content = bytearray(Path(path).read_bytes())
    starts = [i for i in range(len(content) - 2) if content[i : i + 3] == b"\xff\xd8\xff"]
    assert len(starts) == 20
    content[starts[8] : starts[9] - 40] = bytes(starts[9] - 40 - starts[8])
    clip = Clip.open(bytes(content))
    shown = [round(float(frame.mean()) / 12) for frame in clip.at([7, 8, 9, 19]).frames()]
    assert shown[0] == 7 and shown[1] in (7, 9) and shown[2:] == [9, 19]
    decoded, warnings = _warnings(bytes(content))
    assert (decoded, warnings) == (19, ["1 damaged packets skipped"])


def test_good_pictures_behind_a_damaged_one_at_the_end_are_not_lost(tmp_path: Path) -> None:
    options = {"bf": "0", "g": "1"}
    path = write_clip(tmp_path / "a.mp4", busy(20), options=options)
    with av.open(path) as box:
        places = [(packet.pos, packet.size) for packet in box.demux(video=0) if packet.size]
    content = bytearray(Path(path).read_bytes())
    place, size = places[17]
    assert place is not None
    content[place : place + size] = b"\xff" * size
    decoded, warnings = _warnings(bytes(content))
    assert (decoded, warnings) == (
        19,
        ["19 of 20 declared frames decoded", "1 damaged packets skipped"],
    )


def _damaged(content: bytes, seed: int) -> bytes:
    rng, data = random.Random(seed), bytearray(content)
    kind = rng.choice(["flip", "flip", "head", "zero", "drop", "insert"])
    place, length = rng.randrange(len(data)), rng.randrange(1, 1500)
    if kind == "flip":
        for _ in range(rng.choice([1, 5, 50])):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif kind == "head":
        for _ in range(rng.choice([1, 3, 10])):
            data[rng.randrange(min(len(data), 600))] = rng.randrange(256)
    elif kind == "zero":
        data[place : place + length] = bytes(len(data[place : place + length]))
    elif kind == "drop":
        del data[place : place + length]
    else:
        data[place:place] = rng.randbytes(length)
    return bytes(data)


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [
        ("a.mp4", "libx264", "yuv420p"),
        ("a.mkv", "libx264", "yuv420p"),
        ("a.webm", "libvpx-vp9", "yuv420p"),
        ("a.gif", "gif", "rgb8"),
        ("a.avi", "mpeg4", "yuv420p"),
        ("a.mpg", "mpeg2video", "yuv420p"),
        ("a.webp", "libwebp_anim", "yuv420p"),
        ("a.apng", "apng", "rgb24"),
    ],
)
def test_random_damage_gives_frames_or_a_typed_error(
    tmp_path: Path, name: str, codec: str, pix_fmt: str
) -> None:
    path = write_clip(tmp_path / name, busy(12), fps=25, codec=codec, pix_fmt=pix_fmt)
    content = Path(path).read_bytes()
    for seed in range(12):
        try:
            clip = Clip.open(_damaged(content, seed))
            with clip.stream() as stream:
                shapes = {frame.rgb.shape for frame in stream}
            times_s = clip.times_s
            chosen = clip.at([0, len(times_s) - 1]).frames()
        except UnreadableVideo as error:
            assert error.kind != "unreadable_video"
            continue
        assert shapes == {(clip.height, clip.width, 3)}
        assert np.isfinite(times_s).all()
        assert chosen.shape == (2, clip.height, clip.width, 3)


def test_damage_writes_nothing_to_standard_error(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", busy(20))
    content = bytearray(Path(path).read_bytes())
    content[2000:2400] = bytes(400)
    Path(path).write_bytes(content)
    program = "import sys; from features.clip import Clip; list(Clip.open(sys.argv[1]).stream())"
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", program, path],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[1],
    )
    assert done.stderr == ""


def test_the_damaged_real_clips(shared: Path) -> None:
    videos = shared / "videos"
    decoded, warnings = _warnings(videos / "bad_flower_truncated_frag.mp4")
    assert (decoded, warnings[0]) == (30, "30 of 45 declared frames decoded")
    with pytest.raises(BrokenContainer, match="interrupted download"):
        Clip.open(videos / "bad_flower_truncated_nomoov.mp4")
