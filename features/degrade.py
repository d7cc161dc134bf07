"""Distortions of known kind and strength, for calibration and tests: a good clip in, its degraded
twin out.

Every distortion is a function (frames, strength, rng) -> frames on (T, H, W, 3) uint8 RGB with
strength in natural units (standard deviation in pixels, share of frames ...); `LADDERS` names three
strengths of each, mild to severe. Compression is missing here because it is a matter of encoding:
write the clip with a higher crf.
"""

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

Frames = npt.NDArray[np.uint8]
Distortion = Callable[[Frames, float, np.random.Generator], Frames]


def flicker(frames: Frames, strength: float, rng: np.random.Generator) -> Frames:
    """Independent luminance gain per frame, standard deviation `strength`."""
    gains = 1 + strength * _standardised(rng.standard_normal(len(frames)))
    return _bytes(frames * gains[:, None, None, None])


def jitter(frames: Frames, strength: float, rng: np.random.Generator) -> Frames:
    """Independent shift per frame and axis, standard deviation `strength` % of the diagonal;
    edges are mirrored.
    """
    height, width = frames.shape[1:3]
    shifts = strength / 100 * np.hypot(height, width) * rng.standard_normal((len(frames), 2))
    return np.stack([_shifted(f, x, y) for f, (x, y) in zip(frames, shifts, strict=True)])


def freeze(frames: Frames, strength: float, rng: np.random.Generator) -> Frames:
    """A share `strength` of the frames, at random, shows the frame before again."""
    count = round(strength * len(frames))
    held = set(rng.permutation(np.arange(1, len(frames)))[:count].tolist())
    shown = [0]
    for index in range(1, len(frames)):
        shown.append(shown[-1] if index in held else index)
    return np.asarray(frames[shown])


def stall(frames: Frames, strength: float, rng: np.random.Generator) -> Frames:
    """One stop that lasts a share `strength` of the clip, then it jumps on."""
    length = min(max(1, round(strength * len(frames))), len(frames) - 1)
    start = int(rng.integers(0, len(frames) - length))
    shown = np.arange(len(frames))
    shown[start : start + length + 1] = start
    return frames[shown]


def slow(frames: Frames, strength: float, rng: np.random.Generator) -> Frames:
    """Motion slowed `strength` times by showing each frame that often; the length stays."""
    return np.asarray(frames[(np.arange(len(frames)) / strength).astype(int)])


def wobble(frames: Frames, strength: float, rng: np.random.Generator) -> Frames:
    """Things lose their shape: a smooth random displacement, new in every frame, of `strength`
    % of the diagonal.
    """
    height, width = frames.shape[1:3]
    size = np.float32(strength / 100 * np.hypot(height, width))
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    out = []
    for frame in frames:
        dx, dy = (
            cv2.resize(
                size * rng.standard_normal((6, 8), np.float32),
                (width, height),
                interpolation=cv2.INTER_CUBIC,
            )
            for _ in range(2)
        )
        out.append(cv2.remap(frame, x + dx, y + dy, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT))
    return np.stack(out)


def blur(frames: Frames, strength: float, rng: np.random.Generator) -> Frames:
    """Gaussian blur of `strength` pixels at a height of 480."""
    sigma = strength * frames.shape[1] / 480
    return np.stack([cv2.GaussianBlur(f, (0, 0), sigma) for f in frames])


def noise(frames: Frames, strength: float, rng: np.random.Generator) -> Frames:
    """White Gaussian noise of `strength` grey levels, new in every frame."""
    return np.stack(
        [_bytes(f + strength * rng.standard_normal(f.shape, np.float32)) for f in frames]
    )


def expose(frames: Frames, strength: float, rng: np.random.Generator) -> Frames:
    """Exposure changed by `strength` stops, clipped at white."""
    return _bytes(frames * 2.0**strength)


def desaturate(frames: Frames, strength: float, rng: np.random.Generator) -> Frames:
    """A share `strength` of the colour taken away."""
    grey = np.stack([cv2.cvtColor(f, cv2.COLOR_RGB2GRAY) for f in frames])[..., None].astype(
        np.float32
    )
    return _bytes(grey + (1 - strength) * (frames - grey))


LADDERS: dict[str, tuple[Distortion, tuple[float, float, float]]] = {
    "flicker": (flicker, (0.015, 0.04, 0.09)),
    "jitter": (jitter, (0.25, 0.8, 2.2)),
    "freeze": (freeze, (0.08, 0.22, 0.5)),
    "stall": (stall, (0.08, 0.22, 0.5)),
    "slow": (slow, (2.0, 4.0, 1e9)),
    "wobble": (wobble, (0.3, 0.8, 2.0)),
    "blur": (blur, (1.8, 4.0, 9.0)),
    "noise": (noise, (3.0, 7.0, 14.0)),
    "overexposure": (expose, (0.4, 0.8, 1.3)),
    "underexposure": (expose, (-0.5, -1.2, -2.1)),
    "desaturation": (desaturate, (0.35, 0.7, 1.0)),
}
CRF_LADDER = (35, 42, 49)  # x264, against about 12 for a clip that shall look untouched


def degrade(frames: Frames, kind: str, level: int, *, seed: int = 0) -> Frames:
    """`frames` (T, H, W, 3) uint8 RGB with distortion `kind` of `LADDERS` at level 1, 2 or 3 (0:
    unchanged).

    The same seed draws the same numbers for all levels, so that a ladder differs in strength alone.
    Raises KeyError for another kind and IndexError for another level.
    """
    if level == 0:
        return frames
    distortion, strengths = LADDERS[kind]
    if not 1 <= level <= len(strengths):
        raise IndexError(f"level {level} of {kind}: there are 0 to {len(strengths)}")
    return distortion(frames, strengths[level - 1], np.random.default_rng(seed))


def _standardised(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray((values - values.mean()) / max(float(values.std()), 1e-9))


def _shifted(frame: Frames, x: float, y: float) -> Frames:
    matrix = np.array([[1, 0, x], [0, 1, y]])
    size = frame.shape[1::-1]
    return np.asarray(cv2.warpAffine(frame, matrix, size, borderMode=cv2.BORDER_REFLECT), np.uint8)


def _bytes(values: npt.NDArray[np.floating]) -> Frames:
    return np.asarray(np.clip(np.rint(values), 0, 255), np.uint8)
