"""Any vision-language model of transformers as a judge: Qwen2.5-VL, Qwen3-VL, SmolVLM2, InternVL.

    judge = VLM.load("Qwen/Qwen2.5-VL-7B-Instruct", device="cuda")
    vqa.load("visionreward-video", judge=judge)

The pictures of a clip are encoded once and all its questions share them (vqa/models/vlm/). Which
answer such a model gives to a question of VisionReward is its own opinion: the weights were fitted
to another judge.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from vqa.errors import NotFinite
from vqa.judges.base import Answers
from vqa.judges.wording import MAX_PIXELS, PLACE, checked, pictures, worded

if TYPE_CHECKING:
    from features.clip import Clip
    from features.measure import Measurement
    from vqa.checklist import Question
    from vqa.models.vlm.engine import Engine, Reading
    from vqa.score import Answer


@dataclass(eq=False)
class VLM:
    """Answers with P(yes) at the first new token, over all spellings that the tokenizer has.

    The logits of an answer are the logarithms of the probability of all spellings of yes, and of
    no. template -- text with {question} in it that stands behind the frames. max_pixels -- several
    frames are made no larger than that; None leaves them as they are.

    The first clip is also read question by question, for two of them: a model that gives other
    answers when questions share the pictures is run once per question from then on, and says so.
    """

    engine: Engine
    template: str | None = None
    max_pixels: int | None = MAX_PIXELS
    name: str = "vlm"
    sees: Literal["frames", "measurement"] = "frames"

    def __post_init__(self) -> None:
        checked(self.template)

    @classmethod
    def load(
        cls,
        checkpoint: str | os.PathLike[str],
        *,
        device: str = "auto",
        dtype: str = "auto",
        media: Literal["images", "video"] = "images",
        template: str | None = None,
        max_pixels: int | None = MAX_PIXELS,
        token_budget: int | None = None,
    ) -> VLM:
        """Load a folder or a hub id; code that comes with a checkpoint is never run.

        device -- "auto" spreads the model over all cards. dtype -- "auto" is bfloat16.
        media -- "images" shows the frames as a list of pictures; "video" as a film, which needs
        torchvision. token_budget -- tokens of a batch of questions, the pictures counted for each.

        Raises MissingCheckpoint, BadCheckpoint, NotAvailable, NoSpace, BadArgument.
        """
        from vqa.models.vlm.engine import Engine

        checked(template)
        engine = Engine.load(
            checkpoint, device=device, dtype=dtype, media=media, token_budget=token_budget
        )
        return cls(engine, template, max_pixels)

    def ask(
        self,
        clip: Clip,
        questions: Sequence[Question],
        *,
        prompt: str | None = None,
        measurement: Measurement | None = None,
    ) -> list[Answer]:
        """Answer every question about the frames of a clip, in order.

        Raises BadArgument (too many frames, a control token in a question), NotFinite, OutOfMemory,
        and what decoding raises.
        """
        from vqa.models.vlm.prompts import Pictures

        total = len(clip.times_s)
        indices = range(total) if clip.indices is None else clip.indices
        shown = Pictures(pictures(clip, max_pixels=self.max_pixels), indices, total, clip.fps)
        frames = 1 if self.engine.media == "video" else len(shown)
        texts = [worded(q.render(prompt), frames=frames, template=self.template) for q in questions]
        lead, _, _ = worded(PLACE, frames=frames, template=self.template).partition(PLACE)
        known = self.engine.packs
        readings = self.engine.read(shown, texts, lead=lead)
        if self.engine.packs is False and known is None:
            logging.getLogger("vqa").warning("%s", self._slow())
        if any(reading.p_yes != reading.p_yes for reading in readings):
            raise NotFinite(
                "the network's numbers left the range of its dtype; load it with dtype='bfloat16'"
                " or 'float32'"
            )
        notes = [self._slow()] if self.engine.packs is False else []
        pairs = zip(questions, readings, strict=True)
        return Answers([_answer(question, reading) for question, reading in pairs], warnings=notes)

    def _slow(self) -> str:
        return f"{self.name}: a pass for each question, because {self.engine.why_not}"


def _answer(question: Question, reading: Reading) -> Answer:
    return question.answer(reading.p_yes, logit_yes=reading.logit_yes, logit_no=reading.logit_no)
