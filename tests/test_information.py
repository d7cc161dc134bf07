"""SI and TI against ffmpeg's own siti filter, run through PyAV on the same file."""

from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from features.encode import write_clip
from features.information import spatial_information, temporal_information
from features.measure import measure
from features.synthetic import Scene, render


def siti(path: Path) -> tuple[list[float], list[float]]:
    """Per-frame SI and TI as ffmpeg writes them into the metadata of each frame."""
    with av.open(str(path)) as box:
        stream = box.streams.video[0]
        graph = av.filter.Graph()
        source = graph.add_buffer(template=stream)
        convert = graph.add("format", "yuv420p")
        meter = graph.add("siti")
        sink = graph.add("buffersink")
        for a, b in [(source, convert), (convert, meter), (meter, sink)]:
            a.link_to(b)
        graph.configure()
        found = []
        for frame in box.decode(stream):
            graph.push(frame)
            found.append(graph.pull().metadata)
    return [float(m["lavfi.siti.si"]) for m in found], [float(m["lavfi.siti.ti"]) for m in found]


@pytest.mark.parametrize("size", [(320, 240), (854, 480), (1280, 720)])
def test_equal_to_ffmpeg_within_one_per_cent(tmp_path: Path, size: tuple[int, int]) -> None:
    scene = Scene(*size, frames=8, pan_px=(3.0, 1.0), disc_px=(6.0, 0.0), disc_radius=40)
    path = tmp_path / "clip.mp4"
    write_clip(path, render(scene), fps=8, crf=20)
    si, ti = siti(path)
    features = measure(path).features
    assert features["spatial_information"] == pytest.approx(np.mean(si), rel=0.01)
    assert features["spatial_information_max"] == pytest.approx(max(si), rel=0.01)
    assert features["temporal_information"] == pytest.approx(np.mean(ti[1:]), rel=0.01)
    assert features["temporal_information_max"] == pytest.approx(max(ti), rel=0.01)


@pytest.mark.parametrize(
    "name", ["cogvideox_1.mp4", "film_horse_gallop.mp4", "fmt_flower_odd_321x181.webm"]
)
def test_equal_to_ffmpeg_on_real_clips(shared: Path, name: str) -> None:
    si, ti = siti(shared / "videos" / name)
    measured = measure(shared / "videos" / name).curves
    assert measured["spatial_information"] == pytest.approx(si, rel=0.01, abs=0.3)
    assert measured["temporal_information"][1:] == pytest.approx(ti[1:], rel=0.01, abs=0.3)


def test_si_is_the_deviation_of_the_sobel_magnitude_off_the_border() -> None:
    luma = np.random.default_rng(3).integers(0, 256, (301, 401), np.uint8)
    across, down = cv2.Sobel(luma, cv2.CV_64F, 1, 0), cv2.Sobel(luma, cv2.CV_64F, 0, 1)
    assert spatial_information(luma) == pytest.approx(
        np.hypot(across, down)[1:-1, 1:-1].std(), rel=1e-5
    )


def test_ti_is_the_deviation_of_the_difference() -> None:
    first, second = np.random.default_rng(4).integers(0, 256, (2, 50, 70), np.uint8)
    expected = (second.astype(float) - first).std()
    assert temporal_information(first, second) == pytest.approx(expected, rel=1e-9)


def test_a_picture_of_two_pixels_has_no_si() -> None:
    assert np.isnan(spatial_information(np.zeros((2, 9), np.uint8)))
