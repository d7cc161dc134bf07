"""Flow on pictures whose motion is known because we moved them."""

import cv2
import numpy as np
import pytest

from features.flow import STILL, Camera, Flow, FlowMeter, Pyramid, warp
from features.synthetic import Scene, render


def pyramid(luma: np.ndarray) -> Pyramid:
    return Pyramid(luma, luma, cv2.resize(luma, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))


def pyramids(scene: Scene) -> list[Pyramid]:
    return [pyramid(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)) for frame in render(scene)]


def flow_of(scene: Scene) -> Flow:
    first, second = pyramids(scene)[:2]
    return FlowMeter()(first, second)


@pytest.mark.parametrize("pan", [(0.25, 0.0), (1.0, -0.5), (-3.3, 2.1), (9.0, 6.0)])
def test_a_pan_is_found_within_a_tenth_of_a_pixel(pan: tuple[float, float]) -> None:
    flow = flow_of(Scene(pan_px=pan, frames=2))
    assert 2 * flow.camera.shift_x == pytest.approx(pan[0], abs=0.1)
    assert 2 * flow.camera.shift_y == pytest.approx(pan[1], abs=0.1)
    assert np.count_nonzero(flow.things) < 0.02 * flow.things.size


def test_a_jump_of_a_quarter_of_the_picture_is_found() -> None:
    flow = flow_of(Scene(pan_px=(70.0, -40.0), frames=2))
    assert 2 * flow.camera.shift_x == pytest.approx(70, abs=0.2)
    assert 2 * flow.camera.shift_y == pytest.approx(-40, abs=0.2)


@pytest.mark.parametrize("zoom", [0.02, -0.01])
def test_a_zoom_is_a_zoom(zoom: float) -> None:
    camera = flow_of(Scene(zoom=zoom, frames=2)).camera
    assert camera.zoom == pytest.approx(zoom, abs=4e-4)
    assert abs(camera.roll) < 3e-4


def test_a_disc_that_covers_a_tenth_is_no_camera_motion() -> None:
    scene = Scene(disc_px=(4.0, 0.0), disc_radius=48, frames=2)
    flow = flow_of(scene)
    assert np.hypot(flow.camera.shift_x, flow.camera.shift_y) < 0.02
    area = np.pi * 48**2 / (320 * 240)
    length = 2 * np.hypot(flow.things[..., 0], flow.things[..., 1])
    assert float(length.mean()) == pytest.approx(4.0 * area, rel=0.1)


def test_light_that_changes_is_gain_and_not_motion() -> None:
    first, _ = pyramids(Scene(frames=2))
    brighter = pyramid(cv2.convertScaleAbs(first.sharp, alpha=1.15))
    camera = FlowMeter()(first, brighter).camera
    assert camera.gain == pytest.approx(1.15, abs=0.02)
    assert np.hypot(camera.shift_x, camera.shift_y) < 0.02


def test_unrelated_pictures_are_lost_and_the_same_ones_are_not() -> None:
    first = pyramids(Scene(frames=2, seed=1))[0]
    other = pyramids(Scene(frames=2, seed=9))[0]
    meter = FlowMeter()
    assert meter(first, other).lost > 0.6
    assert meter(first, first).lost < 0.01


def test_a_flat_picture_has_no_motion_and_raises_nothing() -> None:
    flat = pyramid(np.full((64, 64), 90, np.uint8))
    flow = FlowMeter()(flat, flat)
    assert flow.camera == STILL
    assert not flow.vectors.any()


def test_warping_by_a_whole_pixel_is_exact() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (20, 30), np.uint8)
    flow = np.zeros((20, 30, 2), np.float32)
    flow[..., 0] = 1
    assert np.array_equal(warp(picture, flow)[:, :-1], picture[:, 1:])
    assert np.array_equal(warp(picture, flow, share=-1.0)[:, 1:], picture[:, :-1])


def test_the_field_of_a_camera_is_its_formula() -> None:
    camera = Camera(shift_x=1.5, shift_y=-2.0, zoom=0.01, roll=0.02)
    field = camera.field(7, 11)
    for y, x in [(0, 0), (3, 5), (6, 10)]:
        moved = complex(0.01, 0.02) * complex(x - 5, y - 3) + complex(1.5, -2.0)
        assert field[y, x].tolist() == pytest.approx([moved.real, moved.imag], abs=1e-5)
    length = np.hypot(field[..., 0], field[..., 1]).mean()
    assert camera.mean_displacement(7, 11) == pytest.approx(float(length), rel=0.01)
