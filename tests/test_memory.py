"""Frames in memory: every common kind, and clear refusals of the rest."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from features.clip import Clip
from features.errors import BadFrames
from tests.conftest import gray_steps, which

FRAMES = np.stack(gray_steps(6))


def test_bytes_are_taken_as_they_are() -> None:
    clip = Clip.from_frames(FRAMES, fps=4)
    assert (clip.width, clip.height, clip.fps, clip.declared_frames) == (48, 32, 4, 6)
    assert (clip.duration_s, clip.codec, clip.path) == (1.5, "raw", None)
    assert clip.times_s.tolist() == [0, 0.25, 0.5, 0.75, 1, 1.25]
    assert np.array_equal(clip.frames(), FRAMES)
    assert which(clip.at([5, 5, 0]).frames()) == [5, 5, 0]


def test_every_kind_gives_the_same_clip() -> None:
    torch = pytest.importorskip("torch")
    channels_first = np.moveaxis(FRAMES, 3, 1)
    kinds = {
        "list": list(FRAMES),
        "generator": (frame for frame in FRAMES),
        "pillow": [Image.fromarray(frame) for frame in FRAMES],
        "bytes, torch layout": channels_first,
        "float32": channels_first.astype(np.float32) / 255,
        "float64, channels last": FRAMES / 255.0,
        "torch": torch.from_numpy(channels_first.astype(np.float32) / 255),
        "torch half": torch.from_numpy(channels_first / 255.0).half(),
        "torch bfloat16, black and white": None,
        "torch with gradient": torch.from_numpy(channels_first / 255.0).requires_grad_(),
        "list of torch": list(torch.from_numpy(channels_first / 255.0)),
        "torch bytes": torch.from_numpy(FRAMES),
    }
    for kind, frames in kinds.items():
        if frames is not None:
            assert np.array_equal(Clip.from_frames(frames).frames(), FRAMES), kind


def test_bfloat16() -> None:
    torch = pytest.importorskip("torch")
    white = torch.ones((2, 3, 8, 8), dtype=torch.bfloat16)
    assert (Clip.from_frames(white).frames() == 255).all()


def test_gray_and_transparent_frames() -> None:
    gray = Clip.from_frames(FRAMES[..., :1]).frames()
    assert np.array_equal(gray, FRAMES)
    half = np.concatenate([FRAMES, np.full_like(FRAMES[..., :1], 128)], axis=-1)
    assert np.abs(Clip.from_frames(half).frames() - FRAMES * (128 / 255)).max() <= 1


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ([], "no frames: a clip needs at least one"),
        (np.zeros((0, 8, 8, 3), np.uint8), "no frames or no pixels"),
        (np.zeros((8, 8, 3), np.uint8), r"shape \(8, 8, 3\); expected \(T, H, W, 3\)"),
        (np.zeros((2, 8, 8, 5), np.uint8), "5 channels"),
        (np.zeros((2, 8, 8, 3), np.int64), "dtype int64"),
        (np.zeros((2, 8, 8, 3), bool), "dtype bool"),
        (np.full((2, 3, 8, 8), 1.5), r"must lie in \[0, 1\], these lie in \[1.5, 1.5\]"),
        (np.full((2, 3, 8, 8), -1.0), r"from \[-1, 1\]: x / 2 \+ 0.5"),
        (np.full((2, 3, 8, 8), np.nan), r"\[nan, nan\]"),
        ([np.zeros((8, 8, 3), np.uint8), np.zeros((8, 9, 3), np.uint8)], "must all have one shape"),
        (["a", "b"], "a frame is a str"),
        (7, "frames are a int"),
    ],
)
def test_refusals_name_rule_and_value(frames: object, message: str) -> None:
    with pytest.raises(BadFrames, match=message):
        Clip.from_frames(frames)


@pytest.mark.parametrize("fps", [0, -1, float("nan"), float("inf")])
def test_the_rate_must_be_positive(fps: float) -> None:
    with pytest.raises(BadFrames, match="fps must be a positive number"):
        Clip.from_frames(FRAMES, fps=fps)


def test_the_digest_is_of_shape_and_pixels() -> None:
    digest = Clip.from_frames(FRAMES).sha256
    assert digest == Clip.from_frames(list(FRAMES), fps=24).sha256
    assert digest != Clip.from_frames(FRAMES[:5]).sha256
    assert digest != Clip.from_frames(FRAMES.reshape(6, 48, 32, 3)).sha256


def test_a_stream_gives_the_frames_without_copying() -> None:
    first = next(Clip.from_frames(FRAMES).stream())
    assert np.shares_memory(first.rgb, FRAMES)
