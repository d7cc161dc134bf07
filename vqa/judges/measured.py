"""The judge that needs no model: answers from measured features what pixels can answer, and nothing
else.

For each sub-dimension of the video checklist that it knows there is one proportional-odds model
(McCullagh, J. R. Stat. Soc. B 1980): a few features, brought to a common scale, are weighted into
one quality z, and each question is answered with P(yes) = sigmoid(z - its threshold). One z with
rising thresholds cannot call a clip "very stable" and deny that it is "stable". A question is known
by its text, so that your own checklist may use it, and a similar one of another checklist is left
alone. Parameters and where they come from: measured.yaml beside this file, written by `python -m
benchmarks calibrate`. It never sees the prompt, so that it cannot pretend to know it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Literal

import yaml

if TYPE_CHECKING:
    from features.clip import Clip
    from features.measure import Measurement
    from vqa.checklist import Question
    from vqa.score import Answer

Features = Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class Term:
    """One feature in a model: `weight` times its place between `low` (0) and `high` (1), held
    inside.

    shape -- "linear", "sqrt" (for shares near 0) or "log" (for quantities whose ratio matters).

    """

    feature: str
    weight: float
    low: float
    high: float
    shape: Literal["linear", "sqrt", "log"] = "linear"

    def place(self, value: float) -> float:
        """Where a value lies between `low` and `high`, in [0, 1]."""
        low, high, here = (self._bend(v) for v in (self.low, self.high, max(value, self.low)))
        return min((here - low) / (high - low), 1.0)

    def _bend(self, value: float) -> float:
        if self.shape == "log":
            return math.log(value)
        return math.sqrt(value) if self.shape == "sqrt" else value


@dataclass(frozen=True, slots=True)
class Model:
    """One sub-dimension: terms that add up to z, and the z at which each question is as likely
    yes as no.
    """

    terms: tuple[Term, ...]
    thresholds: Mapping[str, float]  # by question text

    def p_yes(self, features: Features, text: str) -> float | None:
        """P(yes) of a question; None if a feature is not defined on the clip. Raises KeyError
        for an unknown text.
        """
        z = -self.thresholds[text]
        for term in self.terms:
            value = features.get(term.feature)
            if value is None:
                return None
            z += term.weight * term.place(value)
        return 1.0 / (1.0 + math.exp(-z))


@dataclass(frozen=True)
class Measured:
    """Answers the questions of the video checklist that measurements can tell; leaves the
    others open.
    """

    models: Mapping[str, Model] | None = None  # by question text; None: the shipped ones
    name: str = "measured"
    sees: Literal["frames", "measurement"] = "measurement"

    def ask(
        self,
        clip: Clip,
        questions: Sequence[Question],
        *,
        prompt: str | None = None,
        measurement: Measurement | None = None,
    ) -> list[Answer]:
        """Answer from the measurement, in order; None where no model or no feature is there."""
        features = measurement.features if measurement is not None else {}
        models = shipped_models() if self.models is None else self.models
        return [question.answer(_p_yes(models, features, question)) for question in questions]


def _p_yes(models: Mapping[str, Model], features: Features, question: Question) -> float | None:
    text = question.text.strip()
    return models[text].p_yes(features, text) if text in models else None


@lru_cache(maxsize=1)
def shipped_models() -> Mapping[str, Model]:
    """The calibrated models by question text, read from measured.yaml."""
    text = files("vqa.judges").joinpath("measured.yaml").read_text(encoding="utf-8")
    return models_from(yaml.safe_load(text)["models"])


def models_from(data: Mapping[str, Any]) -> dict[str, Model]:
    """Models by question text from plain data, as in the file."""
    models = [
        Model(tuple(Term(**term) for term in one["terms"]), dict(one["thresholds"]))
        for one in data.values()
    ]
    return {text: model for model in models for text in model.thresholds}
