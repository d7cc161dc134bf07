"""Which questions about which clips go through the decoder together.

A clip's head (its pictures) goes through once, in the first pass that has a question about it;
questions that did not fit there follow in later passes and look back at it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Load:
    """The tokens of one clip: those of its head, and those of each question."""

    head: int
    tails: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Part:
    """What one clip adds to a pass: its head or not, and the numbers of some of its questions."""

    clip: int
    with_head: bool
    tails: tuple[int, ...]


def plan(loads: Sequence[Load], budget: int) -> list[tuple[Part, ...]]:
    """Fill passes of at most `budget` tokens with clips in order.

    Only a pass that holds a single question can be longer than the budget: less cannot be done.
    Clips without questions do not appear.
    """
    passes: list[tuple[Part, ...]] = []
    open_pass: list[Part] = []
    free = budget
    for clip, load in enumerate(loads):
        start = 0
        while start < len(load.tails):
            head = load.head if start == 0 else 0
            if open_pass and head + load.tails[start] > free:
                passes.append(tuple(open_pass))
                open_pass, free = [], budget
            end, used = _fill(load.tails, start, free - head)
            open_pass.append(Part(clip, start == 0, tuple(range(start, end))))
            free -= head + used
            start = end
    return [*passes, tuple(open_pass)] if open_pass else passes


def smallest(passes: Sequence[Sequence[Part]]) -> bool:
    """Tell whether no pass can be made shorter: each holds one question."""
    return all(len(parts) == 1 and len(parts[0].tails) == 1 for parts in passes)


def _fill(tails: Sequence[int], start: int, free: int) -> tuple[int, int]:
    """Give the end of the run of tails that fits, at least one, and its tokens."""
    end, used = start + 1, tails[start]
    while end < len(tails) and used + tails[end] <= free:
        used += tails[end]
        end += 1
    return end, used
