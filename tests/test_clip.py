"""Opening clips: times, sizes, order, rotation, containers, parity with decord."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import pickle
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from features.clip import Clip
from features.encode import write_clip
from features.errors import BadFrames, MissingDecoder, OverLimit
from tests.conftest import busy, corners, gray_steps, which

DECORD = json.loads((Path(__file__).parent / "data" / "decord" / "decord.json").read_text())[
    "files"
]


def test_header_says_what_was_written(steps_mp4: str) -> None:
    clip = Clip.open(steps_mp4)
    assert (clip.width, clip.height, clip.fps, clip.codec) == (48, 32, 8, "h264")
    assert (clip.declared_frames, clip.duration_s, clip.rotation_deg) == (20, 2.5, 0)
    assert clip.path == steps_mp4
    assert clip.indices is None


def test_times_are_start_times_in_float32(steps_mp4: str) -> None:
    times_s = Clip.open(steps_mp4).times_s
    assert times_s.dtype == np.float32
    assert times_s.tolist() == [index / 8 for index in range(20)]


def test_a_stream_gives_every_frame_once_and_then_says_so(steps_mp4: str) -> None:
    stream = Clip.open(steps_mp4).at([3]).stream()
    frames = list(stream)
    assert which(np.stack([frame.rgb for frame in frames])) == list(range(20))
    assert [frame.index for frame in frames] == list(range(20))
    assert [frame.time_s for frame in frames] == [index / 8 for index in range(20)]
    assert (stream.decoded, stream.last_time_s, stream.warnings) == (20, 19 / 8, [])


def test_one_clip_can_be_streamed_twice(steps_mp4: str) -> None:
    clip = Clip.open(steps_mp4)
    assert sum(1 for _ in clip.stream()) == sum(1 for _ in clip.stream()) == 20


def test_a_stream_can_be_left_early(steps_mp4: str) -> None:
    with Clip.open(steps_mp4).stream() as stream:
        next(stream)
    assert list(stream) == []


def test_chosen_frames_come_in_the_order_asked_for_with_repeats(steps_mp4: str) -> None:
    clip = Clip.open(steps_mp4).at([7, 0, 7, 19])
    assert clip.indices == (7, 0, 7, 19)
    assert which(clip.frames()) == [7, 0, 7, 19]


def test_a_frame_beyond_the_end_cannot_be_chosen(steps_mp4: str) -> None:
    with pytest.raises(BadFrames, match="no frame 20, the clip has 0 to 19"):
        Clip.open(steps_mp4).at([20])


def test_no_frames_chosen_is_an_empty_array(steps_mp4: str) -> None:
    assert Clip.open(steps_mp4).at([]).frames().shape == (0, 32, 48, 3)


def test_too_many_bytes_at_once_are_refused_before_decoding(steps_mp4: str) -> None:
    with pytest.raises(OverLimit, match="20 frames of 48x32 are 92160 bytes"):
        Clip.open(steps_mp4).frames(max_bytes=90_000)


def test_bytes_and_file_objects_give_the_same_clip(steps_mp4: str) -> None:
    content = Path(steps_mp4).read_bytes()
    written = io.BytesIO()
    written.write(content)  # left standing at its end, as an upload is
    clips = [
        Clip.open(steps_mp4),
        Clip.open(content),
        Clip.open(written),
        Clip.open(Path(steps_mp4)),
    ]
    assert len({clip.at([4]).frames().tobytes() for clip in clips}) == 1
    assert {clip.sha256 for clip in clips} == {hashlib.sha256(content).hexdigest()}
    assert [clip.path for clip in clips] == [steps_mp4, None, None, steps_mp4]


def test_a_clip_travels_without_frames_or_handles(steps_mp4: str) -> None:
    clip = Clip.open(steps_mp4).at([1, 2])
    clip.frames()
    packed = pickle.dumps(clip)
    assert len(packed) < 2000
    assert np.array_equal(pickle.loads(packed).frames(), clip.frames())


@pytest.mark.parametrize("rotation", [90, -90, 180])
@pytest.mark.parametrize("decoder", ["pyav", "decord"])
def test_rotation_is_applied(tmp_path: Path, rotation: int, decoder: str) -> None:
    coded = corners()
    path = write_clip(tmp_path / "a.mp4", [coded] * 2, crf=1, rotation=rotation)
    clip = Clip.open(path, decoder=decoder)  # type: ignore[arg-type]
    upright = np.rot90(coded, rotation // 90)
    assert (clip.rotation_deg, clip.height, clip.width) == (rotation, *upright.shape[:2])
    assert np.abs(clip.frames()[0].astype(int) - upright).mean() < 3
    first = next(clip.stream(upright=False))
    assert np.abs(first.rgb.astype(int) - coded).mean() < 3


def test_a_mirror_in_the_metadata_is_applied(tmp_path: Path) -> None:
    path = str(tmp_path / "a.mp4")
    with av.open(path, "w") as box:
        stream = box.add_stream("libx264", rate=8)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.set_display_rotation(90, hflip=True)
        frame = av.VideoFrame.from_ndarray(corners(), format="rgb24")
        box.mux(stream.encode(frame))
        box.mux(stream.encode(None))
    shown = Clip.open(path).frames()[0].astype(int)
    assert np.abs(shown - np.rot90(corners(), 1)[:, ::-1]).mean() < 3


def test_pixels_are_made_square_by_enlarging_their_short_side(tmp_path: Path) -> None:
    wide = write_clip(tmp_path / "wide.mp4", [corners()], aspect=Fraction(4, 3))
    high = write_clip(tmp_path / "high.mp4", [corners()], aspect=Fraction(1, 2))
    assert Clip.open(wide).frames().shape == (1, 48, 85, 3)
    assert Clip.open(high).frames().shape == (1, 96, 64, 3)
    assert Clip.open(wide, square_pixels=False).frames().shape == (1, 48, 64, 3)
    assert next(Clip.open(wide).stream(upright=False)).rgb.shape == (48, 64, 3)
    assert Clip.open(wide, decoder="decord").frames().shape == (1, 48, 64, 3)


def test_a_rotated_clip_with_wide_pixels_is_turned_after_widening(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", [corners()], aspect=Fraction(2), rotation=90)
    clip = Clip.open(path)
    assert (clip.width, clip.height) == (48, 128)
    assert clip.frames().shape == (1, 128, 48, 3)


def test_nearly_square_pixels_are_left_alone(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", [corners()], aspect=Fraction(322, 321))
    assert Clip.open(path).width == 64


def test_b_frames_come_in_order_of_presentation(tmp_path: Path) -> None:
    for name, codec in (("a.mp4", "libx264"), ("a.avi", "libx264"), ("b.avi", "mpeg4")):
        path = write_clip(tmp_path / name, gray_steps(24), codec=codec, fps=24, options={"bf": "2"})
        clip = Clip.open(path)
        assert which(clip.at([0, 5, 6, 7, 23]).frames()) == [0, 5, 6, 7, 23], name
        assert np.all(np.diff(clip.times_s) > 0), name


CONTAINERS = [
    ("a.mp4", "libx264", "yuv420p"),
    ("a.mkv", "libx264", "yuv420p"),
    ("a.mov", "prores_ks", "yuv422p10le"),
    ("a.webm", "libvpx", "yuv420p"),
    ("b.webm", "libvpx-vp9", "yuv420p"),
    ("a.avi", "mpeg4", "yuv420p"),
    ("a.mpg", "mpeg2video", "yuv420p"),
    ("a.ts", "libx264", "yuv420p"),
    ("a.flv", "libx264", "yuv420p"),
    ("a.wmv", "wmv2", "yuv420p"),
    ("a.gif", "gif", "rgb8"),
    ("a.webp", "libwebp_anim", "yuv420p"),
    ("a.apng", "apng", "rgb24"),
    ("a.h264", "libx264", "yuv420p"),
]


@pytest.mark.parametrize(("name", "codec", "pix_fmt"), CONTAINERS)
def test_times_without_decoding_agree_with_decoding(
    tmp_path: Path, name: str, codec: str, pix_fmt: str
) -> None:
    path = write_clip(tmp_path / name, busy(30), fps=25, codec=codec, pix_fmt=pix_fmt)
    clip = Clip.open(path)
    with clip.stream() as stream:
        decoded = [frame.time_s for frame in stream]
    assert stream.warnings == []
    assert clip.times_s.tolist() == decoded
    assert len(decoded) == 30
    assert decoded == pytest.approx([i / 25 for i in range(30)], abs=0.002)


def test_hidden_vp8_pictures_are_no_frames(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "a.webm", busy(20), codec="libvpx")
    target = str(tmp_path / "hidden.webm")
    with av.open(source) as box, av.open(target, "w") as out:
        copy = out.add_stream_from_template(box.streams.video[0])
        for number, packet in enumerate(box.demux(video=0)):
            if packet.pts is None:
                continue
            content = bytearray(bytes(packet))
            if number in (5, 11):
                content[0] &= ~0x10  # show_frame
            changed = av.Packet(bytes(content))
            changed.pts, changed.dts = packet.pts, packet.dts
            changed.time_base, changed.stream = packet.time_base, copy
            changed.is_keyframe = packet.is_keyframe
            out.mux(changed)
    clip = Clip.open(target)
    with clip.stream() as stream:
        decoded = [frame.time_s for frame in stream]
    assert clip.times_s.tolist() == decoded
    assert len(decoded) == 18
    assert stream.warnings == []


def test_frames_before_an_edit_are_not_shown(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "a.mp4", gray_steps(20), fps=8, options={"bf": "0"})
    target = str(tmp_path / "cut.mp4")
    with av.open(source) as box, av.open(target, "w") as out:
        stream = box.streams.video[0]
        copy = out.add_stream_from_template(stream)
        start = round(5 / 8 / stream.time_base)  # type: ignore[operator]
        for packet in box.demux(stream):
            if packet.pts is not None and packet.dts is not None:
                packet.pts, packet.dts = packet.pts - start, packet.dts - start
                packet.stream = copy
                out.mux(packet)
    clip = Clip.open(target)
    stream_ = clip.stream()
    assert which(np.stack([frame.rgb for frame in stream_])) == list(range(5, 20))
    assert clip.declared_frames == 15
    assert stream_.warnings == []
    assert clip.times_s[0] == 0


def test_repeated_frames_of_an_avi_are_no_loss(tmp_path: Path) -> None:
    path = str(tmp_path / "a.avi")
    with av.open(path, "w") as box:
        video = box.add_stream("mpeg4", rate=8)
        video.width, video.height, video.pix_fmt = 48, 32, "yuv420p"
        for number, picture in enumerate(gray_steps(20)):
            if number not in (7, 8, 9):  # the muxer fills the gap with empty chunks
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame.pts, frame.time_base = number, Fraction(1, 8)
                box.mux(video.encode(frame))
        box.mux(video.encode(None))
    assert Clip.open(path).declared_frames == 20
    stream = Clip.open(path).stream()
    assert sum(1 for _ in stream) == 17
    assert stream.warnings == []


def test_sound_longer_than_the_pictures_is_no_loss(tmp_path: Path) -> None:
    path = str(tmp_path / "a.mkv")
    with av.open(path, "w") as box:
        video, sound = box.add_stream("libx264", rate=8), box.add_stream("aac", rate=44100)
        video.width, video.height, video.pix_fmt = 48, 32, "yuv420p"
        for picture in gray_steps(4):
            box.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        box.mux(video.encode(None))
        for index in range(100):
            silence = np.zeros((2, 1024), np.float32)
            piece = av.AudioFrame.from_ndarray(silence, format="fltp", layout="stereo")
            piece.sample_rate, piece.pts = 44100, index * 1024
            piece.time_base = Fraction(1, 44100)
            box.mux(sound.encode(piece))
        box.mux(sound.encode(None))
    stream = Clip.open(path).stream()
    assert sum(1 for _ in stream) == 4
    assert stream.warnings == []


def test_a_change_of_size_is_scaled_back_and_said(tmp_path: Path) -> None:
    small = write_clip(tmp_path / "s.ts", gray_steps(5), fps=8)
    large = write_clip(tmp_path / "l.ts", gray_steps(5, width=96, height=64), fps=8)
    both = Path(small).read_bytes() + Path(large).read_bytes()
    stream = Clip.open(both).stream()
    shapes = {frame.rgb.shape for frame in stream}
    assert shapes == {(32, 48, 3)}
    assert any("another size" in warning for warning in stream.warnings)


def test_one_frame_is_a_clip(tmp_path: Path) -> None:
    clip = Clip.open(write_clip(tmp_path / "a.mp4", [corners()], fps=8))
    assert clip.times_s.tolist() == [0]
    assert clip.frames().shape == (1, 48, 64, 3)


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (161, 121)])
def test_odd_sizes(tmp_path: Path, size: tuple[int, int]) -> None:
    frames = gray_steps(3, width=size[0], height=size[1])
    path = write_clip(tmp_path / "a.mkv", frames, codec="ffv1", pix_fmt="yuv444p")
    clip = Clip.open(path)
    assert (clip.width, clip.height) == size
    assert which(clip.frames()) == [0, 1, 2]


@pytest.mark.parametrize("name", sorted(DECORD))
@pytest.mark.parametrize("decoder", ["pyav", "decord"])
def test_times_and_frames_are_those_the_released_script_saw(
    data: Path, name: str, decoder: str
) -> None:
    expected = DECORD[name]
    clip = Clip.open(data / "decord" / name, decoder=decoder)  # type: ignore[arg-type]
    assert clip.fps == expected["avg_fps"]
    assert clip.times_s.tolist() == expected["timestamps"]
    for choice in ("chat", "base"):
        frames = clip.at(expected[choice]).frames()
        digest = hashlib.sha256(frames.tobytes()).hexdigest()
        assert digest == expected[f"{choice}_frames_sha256"]


def test_an_unknown_decoder_is_refused(steps_mp4: str) -> None:
    with pytest.raises(MissingDecoder, match="there are 'pyav' and 'decord'"):
        Clip.open(steps_mp4, decoder="opencv")  # type: ignore[arg-type]


def test_decord_is_not_given_what_can_crash_it(tmp_path: Path, steps_mp4: str) -> None:
    avi = write_clip(tmp_path / "a.avi", busy(4), codec="mjpeg", pix_fmt="yuvj420p")
    with pytest.raises(MissingDecoder, match="decord is given mp4 and mkv only"):
        Clip.open(avi, decoder="decord")
    faststart = {"movflags": "faststart"}
    whole = write_clip(tmp_path / "a.mp4", busy(30), container_options=faststart)
    content = Path(whole).read_bytes()
    with pytest.raises(MissingDecoder, match="of 30 declared frames decoded"):
        Clip.open(content[: len(content) * 2 // 3], decoder="decord")


def _manifest(shared: Path) -> list[dict[str, str]]:
    with open(shared / "videos" / "manifest.csv", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_real_clips_are_whole_and_as_the_manifest_says(shared: Path) -> None:
    for row in _manifest(shared):
        if row["file"].startswith("bad_"):
            continue
        clip = Clip.open(shared / "videos" / row["file"], square_pixels=False)
        turned = row["file"] in ("cam_rotated90.mov", "fmt_flower_rot90.mp4")
        size = (clip.height, clip.width) if turned else (clip.width, clip.height)
        assert size == (int(row["width"]), int(row["height"])), row["file"]
        assert clip.codec == row["codec"], row["file"]
        assert len(clip.times_s) == int(row["frames"]), row["file"]
        assert clip.times_s[0] == 0
        assert np.all(np.diff(clip.times_s) > 0), row["file"]


@pytest.mark.slow
def test_real_clips_decode_as_their_headers_say(shared: Path) -> None:
    for row in _manifest(shared):
        if row["file"].startswith("bad_"):
            continue
        clip = Clip.open(shared / "videos" / row["file"])
        with clip.stream() as stream:
            decoded = [frame.time_s for frame in stream]
        assert stream.warnings == [], row["file"]
        assert clip.times_s.tolist() == decoded, row["file"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["cogvideox_1.mp4", "cam_rotated90.mov", "cam_fire_vfr_rot180.mp4", "cam_asl_again.mkv"]
)
def test_pyav_and_decord_give_the_same_bytes(shared: Path, name: str) -> None:
    ours = Clip.open(shared / "videos" / name)
    theirs = Clip.open(shared / "videos" / name, decoder="decord")
    assert np.array_equal(ours.times_s, theirs.times_s)
    wanted = range(0, len(ours.times_s), 7)
    assert np.array_equal(ours.at(wanted).frames(), theirs.at(wanted).frames())
