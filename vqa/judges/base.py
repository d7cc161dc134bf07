"""What a judge is: something that answers yes/no questions about a clip."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    from features.clip import Clip
    from features.measure import Measurement
    from vqa.checklist import Question
    from vqa.score import Answer


@dataclass(frozen=True, eq=False)
class Ask:
    """Questions about one clip; `prompt` is there if a question needs it."""

    clip: Clip
    questions: Sequence[Question]
    prompt: str | None = None


class Answers(list["Answer"]):
    """Answers with what should be known about them; `warnings` go into the row."""

    def __init__(self, answers: Iterable[Answer], *, warnings: Iterable[str] = ()) -> None:
        super().__init__(answers)
        self.warnings = tuple(warnings)


class Judge(Protocol):
    """Answers questions about one clip.

    `name` goes into logs and keys. `sees` says what it looks at. A judge of "frames" is handed the
    clip with the frames the sampler chose and is asked only what the score needs, because its
    answers cost money. A judge of the "measurement" reads what was measured in all frames, decodes
    nothing itself and is asked the whole checklist.
    """

    @property
    def name(self) -> str:
        """Short name, such as "measured"."""
        ...

    @property
    def sees(self) -> Literal["frames", "measurement"]:
        """What it looks at."""
        ...

    def ask(
        self,
        clip: Clip,
        questions: Sequence[Question],
        *,
        prompt: str | None = None,
        measurement: Measurement | None = None,
    ) -> list[Answer]:
        """Answer every question, in order, with `question.answer(p_yes)`; None for "cannot say".

        A list is enough; `Answers` can carry warnings for the row.
        `clip.frames()` gives the chosen frames, (T, H, W, 3) uint8 RGB. Questions about the prompt
        come only when there is one; `question.render(prompt)` is the exact string to send.
        `measurement` is there whenever `sees` is "measurement".
        """
        ...


@runtime_checkable
class BatchJudge(Protocol):
    """A judge for which several clips together are cheaper than one after the other."""

    @property
    def at_once(self) -> int:
        """How many clips it likes to be handed at once, at least 1."""
        ...

    def ask_many(self, asks: Sequence[Ask]) -> list[list[Answer] | Exception]:
        """Answer like `ask`, clip by clip; a clip that fails gives its exception and no more."""
        ...
