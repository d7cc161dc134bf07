"""Two scores side by side: who wins, by how much, and which questions decided it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from vqa.score import Answer, Score, plain


@dataclass(frozen=True, slots=True)
class Difference:
    """One question in both clips; `difference` is a's contribution minus b's."""

    id: str
    text: str
    dimension: str
    p_yes_a: float | None
    p_yes_b: float | None
    difference: float

    def row(self) -> dict[str, Any]:
        """Give the keys of the JSON output."""
        return {
            "id": self.id,
            "text": self.text,
            "dimension": self.dimension,
            "p_yes_a": self.p_yes_a,
            "p_yes_b": self.p_yes_b,
            "difference": self.difference,
        }


@dataclass(frozen=True)
class Comparison:
    """`difference` is a's value minus b's; the differences of dimensions and of answers sum to it.

    `winner` is None when one of the two has no value. `answers` come largest difference first.
    """

    a: Score
    b: Score
    winner: Literal["a", "b", "tie"] | None
    difference: float | None
    dimensions: dict[str, float | None]
    answers: tuple[Difference, ...]

    def row(self) -> dict[str, Any]:
        """Give the object that `vqa compare --json` prints."""
        sides = {}
        for side, score in (("a", self.a), ("b", self.b)):
            row = score.row()
            sides[side] = {k: row[k] for k in ("path", "status", "error", "score", "coverage")}
        row = {
            "prompt": self.a.prompt,
            "scorer": self.a.scorer,
            "winner": self.winner,
            "difference": self.difference,
            **sides,
            "dimensions": self.dimensions,
            "answers": [answer.row() for answer in self.answers],
        }
        return {key: plain(value) for key, value in row.items()}


def compare(a: Score, b: Score, *, scale: str | None = None) -> Comparison:
    """Compare two scores of one scorer.

    scale -- decide on this scale ("binary" is the released rule, which however counts a tie for the
    second clip); None is the default one. The parts are always on the default scale.
    """
    values = [s.value if scale is None else s.scales.get(scale) for s in (a, b)]
    difference = None if None in values else float(values[0] or 0.0) - float(values[1] or 0.0)
    return Comparison(
        a=a,
        b=b,
        winner=_winner(difference),
        difference=difference,
        dimensions={
            name: _minus(a.dimensions.get(name), b.dimensions.get(name))
            for name in {**a.dimensions, **b.dimensions}
        },
        answers=_answers(a, b),
    )


def _winner(difference: float | None) -> Literal["a", "b", "tie"] | None:
    if difference is None:
        return None
    return "tie" if difference == 0 else "a" if difference > 0 else "b"


def _minus(a: float | None, b: float | None) -> float | None:
    """An unanswered part contributes nothing; None where neither has it."""
    return None if a is None and b is None else (a or 0.0) - (b or 0.0)


def _answers(a: Score, b: Score) -> tuple[Difference, ...]:
    in_a, in_b = ({answer.id: answer for answer in score.answers} for score in (a, b))
    pairs = [(in_a.get(id_), in_b.get(id_)) for id_ in {**in_a, **in_b}]
    found = [_difference(x, y) for x, y in pairs]
    known = [d for d in found if d.p_yes_a is not None or d.p_yes_b is not None]
    return tuple(sorted(known, key=lambda d: -abs(d.difference)))


def _difference(x: Answer | None, y: Answer | None) -> Difference:
    either = x or y
    assert either is not None  # the pair was made from an id that one of them has
    return Difference(
        id=either.id,
        text=either.text,
        dimension=either.dimension,
        p_yes_a=x.p_yes if x else None,
        p_yes_b=y.p_yes if y else None,
        difference=_minus(x.contribution if x else None, y.contribution if y else None) or 0.0,
    )
