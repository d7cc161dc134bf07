"""Turning, mirroring and squaring pixels, on pictures small enough to write down."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from features.layout import Layout, turns_of_matrix

ONE = 1 << 16


def _matrix(a: int, b: int, c: int, d: int) -> bytes:
    return struct.pack("=9i", a * ONE, b * ONE, 0, c * ONE, d * ONE, 0, 0, 0, 1 << 30)


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        (_matrix(1, 0, 0, 1), (0, False)),
        (_matrix(0, -1, 1, 0), (1, False)),
        (_matrix(-1, 0, 0, -1), (2, False)),
        (_matrix(0, 1, -1, 0), (3, False)),
        (_matrix(-1, 0, 0, 1), (0, True)),
        (_matrix(1, 0, 0, -1), (2, True)),
    ],
)
def test_display_matrices(matrix: bytes, expected: tuple[int, bool]) -> None:
    assert turns_of_matrix(matrix) == expected


def test_upside_down_mirrored_is_flipped_vertically() -> None:
    coded = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    turns, mirrored = turns_of_matrix(_matrix(1, 0, 0, -1))
    assert np.array_equal(Layout(2, 2, turns, mirrored).show(coded), coded[::-1])


def test_undoing_the_turn() -> None:
    coded = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    for turns in range(4):
        for mirrored in (False, True):
            layout = Layout(6, 4, turns, mirrored)
            shown = layout.show(coded)
            assert (shown.shape[1], shown.shape[0]) == layout.size
            assert np.array_equal(layout.unturn(shown), coded)


@pytest.mark.parametrize(
    ("aspect", "size"),
    [(1.0, (60, 40)), (4 / 3, (80, 40)), (0.5, (60, 80)), (1.005, (60, 40)), (100.0, (60, 40))],
)
def test_the_short_side_of_a_pixel_is_enlarged(aspect: float, size: tuple[int, int]) -> None:
    assert Layout(60, 40, aspect=aspect).size == size
