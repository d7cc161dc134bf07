"""Published example outputs, and whether a scorer agrees with them.

The outputs stand in selftest.yaml, each with its source; `vqa.selftest_file` reads them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from features.clip import Clip
    from vqa.scorers.base import Rating

Kind = Literal["aspects", "values", "softmax"]
GRAY_TOLERANCE = 0.5  # of a mean over a frame, in steps of 8 bits: decoders differ by less
SHOWN = 12  # digits of a digest in a message


@dataclass(frozen=True, kw_only=True)
class Input:
    """A file that a case is about; frames, mean_rgb -- what decoding it must give, by index."""

    name: str
    origin: str = ""
    sha256: str | None = None
    frames: int | None = None
    mean_rgb: Mapping[int, Sequence[float]] = field(default_factory=dict)

    def __str__(self) -> str:
        known = f" (sha256 {self.sha256[:SHOWN]}...)" if self.sha256 else ""
        return f"{self.origin or self.name}{known}"


@dataclass(frozen=True, kw_only=True)
class Case:
    """Every input is rated with every prompt; `expected` names the numbers and what they were.

    kind -- "aspects" of one rating, "values" of all, or "softmax" over `scale` times the values.
    collapsed -- the value of a network whose head is empty.
    """

    scorer: str
    name: str
    inputs: Sequence[Input]
    prompts: Sequence[str]
    kind: Kind
    expected: Mapping[str, float]
    tolerance: float
    scale: float = 1.0
    sampler: str | None = None
    checkpoint: str | None = None
    collapsed: float | None = None
    source: str = ""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One number, as published and as found here."""

    case: str
    what: str
    expected: float
    found: float
    tolerance: float
    source: str = ""

    @property
    def agrees(self) -> bool:
        """Whether it is within the tolerance; what is not a number never is."""
        return abs(self.found - self.expected) <= self.tolerance


def compare(case: Case, ratings: Sequence[Rating]) -> list[Finding]:
    """Compare what was found with what a case expects, number by number.

    ratings -- of every input with every prompt, in order.
    """
    found = numbers(case, ratings)
    return [
        Finding(
            case=case.name,
            what=what,
            expected=expected,
            found=found.get(what, math.nan),
            tolerance=case.tolerance,
            source=case.source,
        )
        for what, expected in case.expected.items()
    ]


def numbers(case: Case, ratings: Sequence[Rating]) -> Mapping[str, float]:
    """Give the numbers that a case is about by name."""
    if case.kind == "aspects":
        return ratings[0].aspects
    values = [case.scale * rating.value for rating in ratings]
    if case.kind == "softmax":
        powers = [math.exp(value - max(values)) for value in values]
        values = [power / sum(powers) for power in powers]
    return dict(zip(case.expected, values, strict=True))


def has_collapsed(case: Case, ratings: Sequence[Rating]) -> bool:
    """Whether all values are that of an empty head, so that these are not the published weights."""
    due = case.collapsed
    return due is not None and all(abs(rating.value - due) < 1e-4 for rating in ratings)


def decoded(given: Input, clip: Clip) -> list[Finding]:
    """Compare what decoding an input gives: a decoder that differs explains scores that do."""
    source = f"decoding of {given}"
    found: list[tuple[str, float, float, float]] = []
    if given.frames is not None:
        found.append(("frames", given.frames, len(clip.times_s), 0.0))
    for index, due in given.mean_rgb.items():
        means = clip.at([index]).frames()[0].mean((0, 1)).tolist()
        for color, expected, mean in zip("RGB", due, means, strict=True):
            found.append((f"mean {color} of frame {index}", expected, mean, GRAY_TOLERANCE))
    return [
        Finding(case=given.name, what=w, expected=e, found=f, tolerance=t, source=source)
        for w, e, f, t in found
    ]
