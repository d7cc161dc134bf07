"""Statistics of curves over time: what is left when the slow part is taken away, and runs of a
state.

Everything here works on one number per frame, so its memory is negligible beside a single picture.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

Curve = npt.NDArray[np.float64]

# A person steers a camera below about one hertz; hand tremor and generator wobble sit above two.
# What a Gaussian of 0.2 s leaves over: 96 % of a 2 Hz shake, 18 % of a 0.5 Hz sway.
SLOW_S = 0.2


def smooth(path: Curve, times_s: Curve, *, sigma_s: float = SLOW_S) -> Curve:
    """The slow part of a path: at each time a straight line fitted with Gaussian weights.

    Local linear regression (Cleveland, JASA 1979): within the clip the same as a Gaussian filter of
    `sigma_s` seconds, exact for a steady pan up to its very ends, and at ease with variable frame
    rates and missing frames. `path`: (T, D), `times_s`: (T,) increasing. Returns (T, D).
    """
    reach = 4 * sigma_s
    first = np.searchsorted(times_s, times_s - reach)
    last = np.searchsorted(times_s, times_s + reach, side="right")
    slow = np.empty_like(path, np.float64)
    for i, (a, b) in enumerate(zip(first, last, strict=True)):
        t = times_s[a:b] - times_s[i]
        weight = np.exp(-0.5 * (t / sigma_s) ** 2)
        s0, s1, s2 = weight.sum(), weight @ t, weight @ t**2
        spread = s0 * s2 - s1 * s1
        lone = spread <= 1e-12 * s0 * s0  # no second time within reach
        kernel = weight / s0 if lone else weight * (s2 - s1 * t) / spread
        slow[i] = kernel @ path[a:b]
    return slow


def second_difference_noise(values: Curve) -> Curve:
    """Frame-to-frame noise of a curve, one estimate per inner frame: |x[t-1] - 2 x[t] + x[t+1]| /
    sqrt(6).

    The root mean square of the result is the standard deviation of independent noise added to any
    curve that is locally a straight line (Gasser, Sroka and Jennen-Steinmetz, Biometrika 1986), so
    a fade counts as nothing and an alternating flicker in full. (T,) in, (T - 2,) out.
    """
    return np.asarray(np.abs(values[:-2] - 2 * values[1:-1] + values[2:]) / np.sqrt(6.0))


def rms(values: npt.ArrayLike) -> float | None:
    """Root mean square of the finite values; None if there is none."""
    finite = _finite(values)
    return float(np.sqrt(np.mean(finite**2))) if finite.size else None


def mean(values: npt.ArrayLike) -> float | None:
    """Mean of the finite values; None if there is none."""
    finite = _finite(values)
    return float(finite.mean()) if finite.size else None


def _finite(values: npt.ArrayLike) -> Curve:
    array = np.asarray(values, np.float64)
    return array[np.isfinite(array)]


def segments(breaks: Sequence[int], length: int) -> list[slice]:
    """The pieces of range(length) between `breaks` (a break at i starts a new piece at i)."""
    edges = [0, *sorted(b for b in set(breaks) if 0 < b < length), length]
    return [slice(a, b) for a, b in pairwise(edges)]


def runs(flags: Sequence[bool]) -> list[tuple[int, int]]:
    """Half-open index ranges [start, stop) in which `flags` is true, in order."""
    padded = np.concatenate([[False], np.asarray(flags, bool), [False]])
    edges = np.flatnonzero(padded[1:] != padded[:-1])
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]
