"""A judge that says what it was told: for tests, for examples, and to try out your own weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from features.clip import Clip
    from features.measure import Measurement
    from vqa.checklist import Question
    from vqa.score import Answer

Script = Mapping[str, float | None] | Callable[["Clip", "Question"], float | None]


@dataclass(frozen=True)
class Scripted:
    """Answers from a mapping (question id or text -> P(yes)) or a function of clip and question.

    What the mapping does not hold gets `default`: None, unanswered.
    """

    script: Script
    default: float | None = None
    sees: Literal["frames", "measurement"] = "frames"
    name: str = "scripted"

    def ask(
        self,
        clip: Clip,
        questions: Sequence[Question],
        *,
        prompt: str | None = None,
        measurement: Measurement | None = None,
    ) -> list[Answer]:
        """Answer by the script; the clip is not decoded unless the function does it."""
        return [question.answer(self._p_yes(clip, question)) for question in questions]

    def _p_yes(self, clip: Clip, question: Question) -> float | None:
        if callable(self.script):
            return self.script(clip, question)
        for key in (question.id, question.text, question.text.strip()):
            if key in self.script:
                return self.script[key]
        return self.default
