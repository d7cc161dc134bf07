"""The judge that VisionReward was trained as: CogVLM2 looks at the frames and says yes or no.

    judge = CogVLM2.load("zai-org/VisionReward-Video", device="cuda")
    vqa.load("visionreward-video", judge=judge)

`vqa.load("visionreward-video", checkpoint=...)` does both. All questions about a clip go through
together, and several clips at once (vqa/models/cogvlm2/packing.py).
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from vqa.errors import NotFinite, OutOfMemory
from vqa.judges.base import Ask

if TYPE_CHECKING:
    from features.clip import Clip
    from features.measure import Measurement
    from vqa.checklist import Question
    from vqa.models.cogvlm2.engine import Engine, Look, Reading
    from vqa.score import Answer

CAPTION_QUERY = "Please describe this video in detail."


@dataclass(eq=False)
class CogVLM2:
    """Answers with P(yes) = softmax over the logits of "yes" and "no" at the first new token.

    reply_tokens -- 0 reads those two logits only. 1 (video) or 2 (image) reads the literal reply as
    well, over the whole vocabulary; the `binary` scale then counts it as the released scripts do,
    where anything but an exact yes is a no. at_once -- how many clips `score_many` hands over
    together; the engine's token budget decides how many of them share a pass.
    """

    engine: Engine
    reply_tokens: int = 0
    at_once: int = 8
    name: str = "cogvlm2"
    sees: Literal["frames", "measurement"] = "frames"

    @classmethod
    def load(
        cls,
        checkpoint: str | os.PathLike[str],
        *,
        device: str = "auto",
        dtype: str = "auto",
        quantize: str | None = None,
        max_memory: Mapping[int | str, int | str] | None = None,
        kind: Literal["video", "image"] | None = None,
        template: str | None = None,
        token_budget: int | None = None,
        reply_tokens: int = 0,
    ) -> CogVLM2:
        """Load a checkpoint folder or hub id; see `vqa.models.cogvlm2.engine.Engine.load`."""
        from vqa.models.cogvlm2.engine import Engine

        engine = Engine.load(
            checkpoint,
            device=device,
            dtype=dtype,
            quantize=quantize,
            max_memory=max_memory,
            kind=kind,
            template=template,
            token_budget=token_budget,
        )
        return cls(engine, reply_tokens)

    def ask(
        self,
        clip: Clip,
        questions: Sequence[Question],
        *,
        prompt: str | None = None,
        measurement: Measurement | None = None,
    ) -> list[Answer]:
        """Answer every question about the frames of a clip, in order.

        The alignment term of images is no question for this network and stays unanswered. Raises
        BadArgument (too many pictures), NotFinite, OutOfMemory, and what decoding raises.
        """
        found = self.ask_many([Ask(clip, questions, prompt)])[0]
        if isinstance(found, Exception):
            raise found
        return found

    def ask_many(self, asks: Sequence[Ask]) -> list[list[Answer] | Exception]:
        """Answer questions about several clips together; what fails costs its own clip only."""
        looks = [self._look(ask) for ask in asks]
        readings = iter(self._read([look for look in looks if not isinstance(look, Exception)]))
        return [
            look if isinstance(look, Exception) else self._answers(ask, next(readings))
            for ask, look in zip(asks, looks, strict=True)
        ]

    def caption(self, clip: Clip, *, query: str = CAPTION_QUERY, max_tokens: int = 2048) -> str:
        """Describe a clip in words: for cogvlm2-llama3-caption and its like."""
        return self.engine.describe(self.engine.pictures(clip), query, max_tokens=max_tokens)

    def _look(self, ask: Ask) -> Look | Exception:
        from vqa.models.cogvlm2.engine import Look

        try:
            queries = [q.render(ask.prompt) for q in ask.questions if _is_yes_no(q)]
            return Look(self.engine.pictures(ask.clip), queries)
        except Exception as error:  # a file that cannot be decoded; the other clips go on
            return error

    def _read(self, looks: Sequence[Look]) -> list[list[Reading] | Exception]:
        try:
            return [*self.engine.read(looks, reply_tokens=self.reply_tokens)]
        except OutOfMemory as error:
            if len(looks) == 1:
                return [error]
        return [found for look in looks for found in self._read([look])]

    def _answers(self, ask: Ask, readings: list[Reading] | Exception) -> list[Answer] | Exception:
        if isinstance(readings, Exception):
            return readings
        if not all(math.isfinite(r.logit_yes) and math.isfinite(r.logit_no) for r in readings):
            return NotFinite(
                "the network's numbers left the range of its dtype; load it with dtype='bfloat16'"
                " or 'float32'"
            )
        found = iter(readings)
        return [_answer(q, next(found) if _is_yes_no(q) else None) for q in ask.questions]


def _is_yes_no(question: Question) -> bool:
    """Whether yes or no can answer it: not so for a similarity that enters as P itself."""
    return question.enters_as == "2p-1"


def _answer(question: Question, reading: Reading | None) -> Answer:
    if reading is None:
        return question.answer(None)
    return question.answer(
        reading.p_yes,
        logit_yes=reading.logit_yes,
        logit_no=reading.logit_no,
        reply=reading.reply,
    )
