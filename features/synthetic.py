"""Sample clips made from nothing, with known motion: for the demo, the tests and the calibration of
speed.

A scene is a textured background that a camera moves over (pan, zoom) and a textured disc that moves
by itself. Everything is a function of time, so the motion of every pixel is known in closed form.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Frames = npt.NDArray[np.uint8]

_LENS_PX = 0.7  # blur of a good lens: without it every second pixel would be noise


@dataclass(frozen=True, slots=True)
class Scene:
    """A synthetic shot. Speeds are in pixels per frame, `zoom` in relative growth per frame."""

    width: int = 320
    height: int = 240
    frames: int = 48
    pan_px: tuple[float, float] = (0.0, 0.0)  # of the picture's content: +x right, +y down
    zoom: float = 0.0
    disc_px: tuple[float, float] = (0.0, 0.0)  # velocity of the disc against the screen
    disc_radius: int = 0  # 0: no disc
    seed: int = 0


def render(scene: Scene) -> Frames:
    """Frames (T, H, W, 3) uint8 RGB of a scene."""
    margin = max(scene.width, scene.height)
    canvas = texture(scene.height + 2 * margin, scene.width + 2 * margin, seed=scene.seed)
    patch = texture(2 * scene.disc_radius + 1, 2 * scene.disc_radius + 1, seed=scene.seed + 1)
    return np.stack([_frame(scene, canvas, patch, margin, index) for index in range(scene.frames)])


def texture(height: int, width: int, *, seed: int) -> Frames:
    """Natural-looking texture: noise with a 1/f spectrum (Field, JOSA A 1987), in warm and cool
    colours.
    """
    rng = np.random.default_rng(seed)
    fy, fx = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :]
    falloff = 1 / np.maximum(np.hypot(fx, fy), 1 / max(height, width))
    fields = [
        np.fft.irfft2(falloff * np.fft.rfft2(rng.standard_normal((height, width))), (height, width))
        for _ in range(3)
    ]
    light, warm, cool = (f / max(float(f.std()), 1e-9) for f in fields)
    colours = np.stack([light + 0.5 * warm, light, light - 0.4 * warm + 0.3 * cool], axis=-1)
    seen = cv2.GaussianBlur(np.clip(120 + 38 * colours, 0, 255), (0, 0), _LENS_PX)
    return np.asarray(np.rint(seen), np.uint8)


def _frame(scene: Scene, canvas: Frames, patch: Frames, margin: int, index: int) -> Frames:
    t = index - (scene.frames - 1) / 2  # the middle frame looks at the middle of the canvas
    scale = (1 + scene.zoom) ** t
    centre = np.array([scene.width - 1, scene.height - 1]) / 2
    origin = (centre + margin) - (centre + np.array(scene.pan_px) * t) / scale
    matrix = np.array([[1 / scale, 0, origin[0]], [0, 1 / scale, origin[1]]])
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    frame = cv2.warpAffine(
        canvas, matrix, (scene.width, scene.height), flags=flags, borderMode=cv2.BORDER_REFLECT
    )
    if scene.disc_radius:
        _paint(frame, patch, centre + np.array(scene.disc_px) * t, scene.disc_radius)
    return np.asarray(frame, np.uint8)


def _paint(frame: Frames, patch: Frames, centre: npt.NDArray[np.float64], radius: int) -> None:
    height, width = frame.shape[:2]
    shift = centre - radius
    matrix = np.array([[1, 0, shift[0]], [0, 1, shift[1]]])
    moved = cv2.warpAffine(patch, matrix, (width, height), flags=cv2.INTER_CUBIC)
    y, x = np.mgrid[0:height, 0:width]
    distance = np.hypot(x - centre[0], y - centre[1])
    alpha = np.clip(radius - distance, 0, 1)[..., None]
    frame[:] = np.rint(alpha * (255 - moved) + (1 - alpha) * frame).astype(np.uint8)
