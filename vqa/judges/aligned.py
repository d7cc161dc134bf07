"""A judge with one ear for the prompt: the alignment term of VisionReward-Image.

That term is no question for the network that answers the others. It is the VQAScore of picture and
prompt, in [0, 1], which enters the sum as it is (`vqa.scorers.vqascore`). Here a rater answers it,
and the judge everything else:

    Aligned(judge, rater)

`vqa.load("visionreward-image", checkpoint={"visionreward-image": ..., "vqascore": ...})` does so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from vqa.errors import BadArgument, NotFinite
from vqa.judges.base import Ask, BatchJudge, Judge
from vqa.scorer import attempt
from vqa.scorers.base import ClipRater, Rating, View

if TYPE_CHECKING:
    from features.clip import Clip
    from features.measure import Measurement
    from vqa.checklist import Question
    from vqa.score import Answer


@dataclass(frozen=True, eq=False)
class Aligned:
    """Answers what enters as P itself with a rating in [0, 1], the rest with a judge of frames.

    Of a clip of several pictures the rater gives one number, by its own reduction. Raises
    BadArgument for a judge of measurements.
    """

    judge: Judge
    rater: ClipRater
    sees: Literal["frames", "measurement"] = field(default="frames", init=False)

    def __post_init__(self) -> None:
        if self.judge.sees != "frames":
            raise BadArgument(
                f"judge {self.judge.name!r}: looks at measurements; Aligned is for one of frames"
            )

    @property
    def name(self) -> str:
        """That of the judge, marked."""
        return f"{self.judge.name}+alignment"

    @property
    def at_once(self) -> int:
        """As many clips as the judge likes."""
        return self.judge.at_once if isinstance(self.judge, BatchJudge) else 1

    def ask(
        self,
        clip: Clip,
        questions: Sequence[Question],
        *,
        prompt: str | None = None,
        measurement: Measurement | None = None,
    ) -> list[Answer]:
        """Answer every question, in order; raises what the judge and the rater raise."""
        found = self.ask_many([Ask(clip, questions, prompt)])[0]
        if isinstance(found, Exception):
            raise found
        return found

    def ask_many(self, asks: Sequence[Ask]) -> list[list[Answer] | Exception]:
        """Answer questions about several clips; what fails costs its own clip only.

        A clip that the judge could not answer is not rated: that would be paid for in vain.
        """
        answers = self._answered([_others(ask) for ask in asks])
        due = [
            _has_term(ask) and not isinstance(found, Exception)
            for ask, found in zip(asks, answers, strict=True)
        ]
        terms = iter(self._terms([ask for ask, wanted in zip(asks, due, strict=True) if wanted]))
        return [
            _joined(ask, found, next(terms) if wanted else None)
            for ask, found, wanted in zip(asks, answers, due, strict=True)
        ]

    def _answered(self, asks: Sequence[Ask]) -> list[list[Answer] | Exception]:
        """Let the judge answer; it is not bothered with clips it is asked nothing about."""
        real = [ask for ask in asks if ask.questions]
        answers = iter(self._judged(real) if real else [])
        return [next(answers) if ask.questions else [] for ask in asks]

    def _judged(self, asks: Sequence[Ask]) -> list[list[Answer] | Exception]:
        if isinstance(self.judge, BatchJudge):
            return self.judge.ask_many(asks)
        return [
            attempt(lambda ask=ask: self.judge.ask(ask.clip, ask.questions, prompt=ask.prompt))  # type: ignore[misc]
            for ask in asks
        ]

    def _terms(self, asks: Sequence[Ask]) -> list[float | Exception]:
        return [_value(rating) for rating in self._rated([View(a.clip, a.prompt) for a in asks])]

    def _rated(self, views: Sequence[View]) -> Sequence[Rating | Exception]:
        """Rate together; if that fails as a whole, one by one, so that only the culprit fails."""
        found = attempt(lambda: self.rater.rate(views))
        if not isinstance(found, Exception):
            return found
        return [found] if len(views) == 1 else [self._rated([view])[0] for view in views]


def _is_term(question: Question) -> bool:
    return question.enters_as == "p"


def _has_term(ask: Ask) -> bool:
    return ask.prompt is not None and any(map(_is_term, ask.questions))


def _others(ask: Ask) -> Ask:
    return replace(ask, questions=[q for q in ask.questions if not _is_term(q)])


def _joined(
    ask: Ask, answers: list[Answer] | Exception, term: float | Exception | None
) -> list[Answer] | Exception:
    """Put the term in its place among the answers."""
    if isinstance(answers, Exception):
        return answers
    if isinstance(term, Exception):
        return term
    if len(answers) != len(_others(ask).questions):
        return answers  # the scorer tells the judge off for it
    rest = iter(answers)
    return [q.answer(term) if _is_term(q) else next(rest) for q in ask.questions]


def _value(rating: Rating | Exception) -> float | Exception:
    if isinstance(rating, Exception):
        return rating
    if not math.isfinite(rating.value):
        return NotFinite(
            "the alignment term left the range of its network's dtype; load it with"
            " dtype='bfloat16' or 'float32'"
        )
    return rating.value
