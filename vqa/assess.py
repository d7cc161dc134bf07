"""The spine: open -> measure -> sample -> ask -> weigh.

A checklist with a judge is a scorer. Everything else in the project is one of these five steps, or
many of them at once.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

from vqa.checklist import Checklist, Question
from vqa.errors import BadArgument
from vqa.judges.base import Judge
from vqa.score import Answer, Score, weigh

if TYPE_CHECKING:
    from features.clip import Clip
    from features.measure import Measurement
    from vqa.sample import Sampler

Source: TypeAlias = "str | os.PathLike[str] | bytes | BinaryIO | Clip"


@dataclass(frozen=True)
class ChecklistScorer:
    """A checklist with a judge and a sampler.

    strict -- a clip that stops early is an error instead of a score with a warning.
    """

    name: str
    checklist: Checklist
    judge: Judge
    sampler: Sampler
    strict: bool = False

    def score(self, source: Source, *, prompt: str | None = None) -> Score:
        """Score one clip: a path, bytes, a file object or a `Clip`.

        Raises UnreadableVideo (its subclasses say why) when no frame can be decoded. Without a
        prompt the questions about the prompt stay unanswered.
        """
        from features.measure import measure

        started = time.perf_counter()
        prompt = _said(prompt)
        clip = self._open(source)
        measurement = measure(clip)
        seen = self._sample(clip)
        answers = self._ask(seen, self._wanted(), prompt, measurement)
        return replace(
            weigh(self.checklist, answers),
            features=measurement.features,
            sampled=_sampled(seen, measurement),
            clip=measurement.clip,
            warnings=tuple(measurement.warnings),
            path=_path_of(source),
            prompt=prompt,
            scorer=self.name,
            elapsed_s=_since(started),
        )

    def score_each(
        self, sources: Sequence[Source], prompts: Sequence[str | None] | str | None = None
    ) -> Iterator[Score]:
        """Score clips one after the other; an error costs one row and nothing else.

        prompts -- one for all, or one per clip (None for "no prompt").
        """
        if prompts is None or isinstance(prompts, str):
            prompts = [prompts] * len(sources)
        if len(prompts) != len(sources):
            raise BadArgument(
                f"{len(prompts)} prompts for {len(sources)} clips; give one per clip, None for none"
            )
        for position, (source, prompt) in enumerate(zip(sources, prompts, strict=True)):
            yield replace(self._score_or_row(source, prompt), position=position)

    def score_many(
        self, sources: Sequence[Source], prompts: Sequence[str | None] | str | None = None
    ) -> list[Score]:
        """Score clips; those that fail come back as rows with an error, in their place."""
        return list(self.score_each(sources, prompts))

    def rank(self, prompt: str | None, sources: Sequence[Source]) -> list[Score]:
        """Score clips made for one prompt and sort them, best first.

        `position` of a Score is the clip's place in `sources`. Equal values keep their order; clips
        without a value come last.
        """
        scores = self.score_many(sources, prompt)
        return sorted(scores, key=lambda s: (s.value is None, -(s.value or 0.0)))

    def ask(
        self, source: Source, questions: Sequence[str | Question], *, prompt: str | None = None
    ) -> list[Answer]:
        """Ask the judge questions of your own, or of the checklist by id or text; no score.

        An Answer's `p_yes` is None when the judge cannot say.
        """
        from features.measure import measure

        clip = self._open(source)
        measurement = measure(clip) if self.judge.sees == "measurement" else None
        asked = [self.question(q, number) for number, q in enumerate(questions, start=1)]
        found = self._ask(self._sample(clip), asked, _said(prompt), measurement)
        by_id = {answer.id: answer for answer in found}
        return [by_id.get(q.id) or q.answer(None) for q in asked]

    def question(self, question: str | Question, number: int = 1) -> Question:
        """Give the checklist's question with this id or text, or a new one without weight."""
        if isinstance(question, Question):
            return question
        return self.checklist.find(question) or Question(id=f"asked.{number}", text=question)

    def _open(self, source: Source) -> Clip:
        from features.clip import Clip

        return source if isinstance(source, Clip) else Clip.open(source, strict=self.strict)

    def _sample(self, clip: Clip) -> Clip:
        return clip if self.judge.sees == "measurement" else self.sampler(clip)

    def _wanted(self) -> tuple[Question, ...]:
        """Every answer of a network costs money; what follows from measurements is free."""
        if self.judge.sees == "measurement":
            return self.checklist.questions
        alignment = self.checklist.alignment
        return (*((alignment,) if alignment else ()), *self.checklist.asked)

    def _ask(
        self,
        clip: Clip,
        questions: Sequence[Question],
        prompt: str | None,
        measurement: Measurement | None,
    ) -> list[Answer]:
        askable = [q for q in questions if prompt is not None or not q.needs_prompt]
        answers = self.judge.ask(clip, askable, prompt=prompt, measurement=measurement)
        if [answer.id for answer in answers] != [q.id for q in askable]:
            raise BadArgument(
                f"judge {self.judge.name!r} gave {len(answers)} answers to {len(askable)}"
                " questions; it must answer each one, in order, with question.answer(...)"
            )
        return answers

    def _score_or_row(self, source: Source, prompt: str | None) -> Score:
        started = time.perf_counter()
        try:
            return self.score(source, prompt=prompt)
        except Exception as error:
            return Score.failed(
                error,
                path=_path_of(source),
                prompt=_said(prompt),
                scorer=self.name,
                elapsed_s=_since(started),
            )


def _sampled(seen: Clip, measurement: Measurement) -> dict[str, Any]:
    """Tell which frames the judge saw: those chosen, or all that were decoded."""
    if seen.indices is None:
        indices, times_s = list(range(len(measurement.times_s))), list(measurement.times_s)
    else:
        indices, times_s = list(seen.indices), seen.times_s[list(seen.indices)].tolist()
    return {"indices": indices, "times_s": [round(t, 6) for t in times_s]}


def _said(prompt: str | None) -> str | None:
    """An empty prompt asks for nothing, so no clip can meet it or fail it."""
    return prompt if prompt and prompt.strip() else None


def _path_of(source: Source) -> str | None:
    if isinstance(source, str | os.PathLike):
        return os.fspath(source)
    path = source.path if hasattr(source, "path") else getattr(source, "name", None)
    return path if isinstance(path, str) else None  # bytes, frames in memory: no path


def _since(started: float) -> float:
    return round(time.perf_counter() - started, 4)
