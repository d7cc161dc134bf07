"""The spine: open -> measure -> sample -> ask -> weigh.

A checklist with a judge is a scorer. Everything else in the project is one of these five steps, or
many of them at once.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias, TypeVar

from vqa.checklist import Checklist, Question
from vqa.errors import BadArgument
from vqa.judges.base import Ask, BatchJudge, Judge
from vqa.score import Answer, Score, weigh

if TYPE_CHECKING:
    from features.clip import Clip
    from features.measure import Measurement
    from vqa.sample import Sampler

T = TypeVar("T")
Source: TypeAlias = "str | os.PathLike[str] | bytes | BinaryIO | Clip"


@dataclass(frozen=True, eq=False)
class Watched:
    """A clip that was opened, measured and sampled: all that comes before the judge."""

    source: Source
    ask: Ask
    measurement: Measurement
    elapsed_s: float


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
        (found,) = self._score_batch([(source, prompt)])
        if isinstance(found, Exception):
            raise found
        return found

    def score_each(
        self, sources: Sequence[Source], prompts: Sequence[str | None] | str | None = None
    ) -> Iterator[Score]:
        """Score clips in order; an error costs one row and nothing else.

        prompts -- one for all, or one per clip (None for "no prompt"). A judge that likes several
        clips at once is handed them so.
        """
        if prompts is None or isinstance(prompts, str):
            prompts = [prompts] * len(sources)
        if len(prompts) != len(sources):
            raise BadArgument(
                f"{len(prompts)} prompts for {len(sources)} clips; give one per clip, None for none"
            )
        pairs = list(zip(sources, prompts, strict=True))
        at_once = self.judge.at_once if isinstance(self.judge, BatchJudge) else 1
        for first in range(0, len(pairs), at_once):
            batch, started = pairs[first : first + at_once], time.perf_counter()
            for offset, found in enumerate(self._score_batch(batch)):
                share_s = _since(started) / len(batch)
                score = (
                    found if isinstance(found, Score) else self._row(*batch[offset], found, share_s)
                )
                yield replace(score, position=first + offset)

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

        A text reaches the judge exactly as given, white space at its ends included. An Answer's
        `p_yes` is None when the judge cannot say.
        """
        from features.measure import measure

        clip = self._open(source)
        measurement = measure(clip) if self.judge.sees == "measurement" else None
        wanted = [self.question(q, number) for number, q in enumerate(questions, start=1)]
        ask = _askable(self._sample(clip), wanted, _said(prompt))
        found = self.judge.ask(ask.clip, ask.questions, prompt=ask.prompt, measurement=measurement)
        answers = iter(self._checked(ask, found))
        return [next(answers) if q in ask.questions else q.answer(None) for q in wanted]

    def question(self, question: str | Question, number: int = 1) -> Question:
        """Give the checklist's question with this id or text, or a new one without weight."""
        if isinstance(question, Question):
            return question
        known = self.checklist.find(question)
        if known is None:
            return Question(id=f"asked.{number}", text=question)
        return known if known.id == question else replace(known, text=question)

    def _score_batch(self, pairs: Sequence[tuple[Source, str | None]]) -> list[Score | Exception]:
        """Score a few clips; what fails gives its exception and costs the others nothing."""
        seen = [_attempt(lambda pair=pair: self._watch(*pair)) for pair in pairs]  # type: ignore[misc]
        watched = [one for one in seen if isinstance(one, Watched)]
        started = time.perf_counter()
        judged = iter(self._judge(watched))
        share_s = _since(started) / max(1, len(watched))
        return [
            self._weighed(one, next(judged), share_s) if isinstance(one, Watched) else one
            for one in seen
        ]

    def _watch(self, source: Source, prompt: str | None) -> Watched:
        """Open, measure, sample."""
        from features.measure import measure

        started = time.perf_counter()
        clip = self._open(source)
        measurement = measure(clip)
        ask = _askable(self._sample(clip), self._wanted(), _said(prompt))
        return Watched(source, ask, measurement, _since(started))

    def _judge(self, batch: Sequence[Watched]) -> Sequence[list[Answer] | Exception]:
        judge = self.judge
        if isinstance(judge, BatchJudge):
            return judge.ask_many([one.ask for one in batch])
        return [
            _attempt(
                lambda ask=one.ask, seen=one.measurement: judge.ask(  # type: ignore[misc]
                    ask.clip, ask.questions, prompt=ask.prompt, measurement=seen
                )
            )
            for one in batch
        ]

    def _weighed(
        self, watched: Watched, answers: list[Answer] | Exception, judged_s: float
    ) -> Score | Exception:
        if isinstance(answers, Exception):
            return answers
        return _attempt(lambda: self._weigh(watched, answers, judged_s))

    def _weigh(self, watched: Watched, answers: list[Answer], judged_s: float) -> Score:
        measurement = watched.measurement
        return replace(
            weigh(self.checklist, self._checked(watched.ask, answers)),
            features=measurement.features,
            sampled=_sampled(watched.ask.clip, measurement),
            clip=measurement.clip,
            warnings=tuple(measurement.warnings),
            path=_path_of(watched.source),
            prompt=watched.ask.prompt,
            scorer=self.name,
            elapsed_s=round(watched.elapsed_s + judged_s, 4),
        )

    def _checked(self, ask: Ask, answers: list[Answer]) -> list[Answer]:
        if [answer.id for answer in answers] != [q.id for q in ask.questions]:
            raise BadArgument(
                f"judge {self.judge.name!r} gave {len(answers)} answers to {len(ask.questions)}"
                " questions; it must answer each one, in order, with question.answer(...)"
            )
        return answers

    def _row(self, source: Source, prompt: str | None, error: Exception, elapsed_s: float) -> Score:
        return Score.failed(
            error,
            path=_path_of(source),
            prompt=_said(prompt),
            scorer=self.name,
            elapsed_s=round(elapsed_s, 4),
        )

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


def _askable(clip: Clip, questions: Sequence[Question], prompt: str | None) -> Ask:
    """Leave out what asks about a prompt that is not there."""
    return Ask(clip, [q for q in questions if prompt is not None or not q.needs_prompt], prompt)


def _attempt(work: Callable[[], T]) -> T | Exception:
    try:
        return work()
    except Exception as error:
        return error


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
