"""Pictures and questions to the tensors that a model takes: a head with the pictures, and tails.

Everything up to the question is the same for all questions about a clip. It is encoded once, by the
checkpoint's own processor; of the other questions only the text behind the last control token is
tokenised, which no token reaches across.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers.video_utils import VideoMetadata

from vqa.errors import BadArgument, BadCheckpoint
from vqa.models.quiet import quiet
from vqa.models.vlm.processor import Media, load_processor
from vqa.spelling import side_of

Inputs = dict[str, Any]

# By what name image processors call the splitting of a picture into tiles. The frames of a video
# stay whole, as in what these models do with films: four frames of one tile each say more than
# one frame in seventeen tiles.
_TILING = ("do_image_splitting", "crop_to_patches")


@dataclass(frozen=True, eq=False)
class Pictures:
    """What is shown; of a film also which frames these are, of how many, at how many per second."""

    images: Sequence[Image.Image]
    indices: Sequence[int] = ()
    total: int = 0
    fps: float = 1.0

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True, eq=False)
class Encoded:
    """Pictures and questions.

    head -- what the processor makes, cut off after `length` tokens. tails -- the ids behind it, of
    each question.
    """

    head: Inputs
    tails: list[list[int]]

    @property
    def length(self) -> int:
        """Tokens of the head, those of the pictures included."""
        return int(self.head["input_ids"].shape[1])

    def whole(self, number: int) -> Inputs:
        """Give what the processor makes of one question."""
        tail = self.tails[number]
        fill = {"input_ids": torch.tensor([tail]), "attention_mask": torch.ones(1, len(tail))}
        found = dict(self.head)
        for name in _per_token(self.head):
            more = fill.get(name, torch.zeros(1, len(tail)))
            found[name] = torch.cat((self.head[name], more.to(self.head[name].dtype)), dim=1)
        return found


@dataclass(eq=False)
class Prompts:
    """Words and pictures for one model."""

    processor: Any
    template: str
    media: Media = "images"

    @classmethod
    def load(cls, folder: Path, config: Any, *, media: Media = "images") -> Prompts:
        """Load from a folder; raises NotAvailable, BadCheckpoint (no chat template, say)."""
        processor = load_processor(folder, config, media=media)
        template = getattr(processor, "chat_template", None) or processor.tokenizer.chat_template
        if isinstance(template, dict):
            template = template.get("default")
        if not template:
            raise BadCheckpoint(
                f"{folder}: has no chat template (chat_template.jinja, or in"
                " tokenizer_config.json), so nobody knows how to ask it; give a checkpoint that"
                " was trained to follow instructions"
            )
        return cls(processor, template, media)

    @property
    def tokenizer(self) -> Any:
        """Text to ids."""
        return self.processor.tokenizer

    def spellings(self, words: int) -> tuple[list[int], list[int]]:
        """Give the ids of all tokens that say yes, and of those that say no, below `words`."""
        sides: dict[str | None, list[int]] = {"yes": [], "no": [], None: []}
        special = set(self.tokenizer.all_special_ids)
        for token, number in self.tokenizer.get_vocab().items():
            if number < words and number not in special:
                sides[side_of(token)].append(number)
        for side in ("yes", "no"):
            if not sides[side]:
                raise BadCheckpoint(f"its tokenizer has no token that says {side}; P(yes) is open")
        return sorted(sides["yes"]), sorted(sides["no"])

    def whole(self, pictures: Pictures, text: str) -> Inputs:
        """Give what the processor makes of pictures and one question."""
        return self._processed(pictures, self._rendered(pictures, text))

    def encode(self, pictures: Pictures, texts: Sequence[str], *, lead: str = "") -> Encoded | None:
        """Encode pictures with questions; None if the prompt cannot be cut before the question.

        lead -- what all questions begin with, whichever they are. Raises BadArgument for a text
        with a control token in it, which would be taken for one.
        """
        for text in texts:
            self._check(text)
        rendered = [self._rendered(pictures, text) for text in texts]
        # Two questions of one letter keep the cut from depending on which questions came together.
        probes = [self._rendered(pictures, lead + letter) for letter in "ab"]
        everyone = [*rendered, *probes]
        cut = self._cut(rendered[0][: _same(everyone)])
        if cut is None:
            return None
        mark, end = cut
        found = [self._behind(mark, text[end:]) for text in everyone]
        tails = [tail for tail in found if tail is not None]
        inputs = self._processed(pictures, rendered[0])
        ids = inputs["input_ids"][0].tolist()
        if len(tails) < len(found) or ids[-len(tails[0]) :] != tails[0]:
            return None
        same = _same(tails)
        length = len(ids) - len(tails[0]) + same
        head = inputs | {name: inputs[name][:, :length] for name in _per_token(inputs)}
        return Encoded(head, [tail[same:] for tail in tails[: len(texts)]])

    def _rendered(self, pictures: Pictures, text: str) -> str:
        shown = (
            [{"type": "video"}] if self.media == "video" else [{"type": "image"}] * len(pictures)
        )
        message = {"role": "user", "content": [*shown, {"type": "text", "text": text}]}
        rendered: str = self.tokenizer.apply_chat_template(
            [message], chat_template=self.template, add_generation_prompt=True, tokenize=False
        )
        return rendered

    def _processed(self, pictures: Pictures, rendered: str) -> Inputs:
        options: Inputs = {"text": [rendered], "return_tensors": "pt"}
        begins = self.tokenizer.bos_token
        if begins and rendered.startswith(begins):
            options["add_special_tokens"] = False  # or there would be two of them
        shown = self._film(pictures) if self.media == "video" else self._still(pictures)
        try:
            with quiet("transformers"):
                found = self.processor(**options, **shown)
        except (ValueError, TypeError, IndexError, KeyError) as error:
            said = str(error).strip().partition("\n")[0]
            raise BadCheckpoint(
                f"{type(self.processor).__name__} does not take {len(pictures)} pictures in this"
                f" prompt ({said}); is its chat template one for pictures, and for several?"
            ) from None
        # Labels are for training, and with them some models give a loss for their logits.
        return {name: value for name, value in found.items() if name != "labels"}

    def _still(self, pictures: Pictures) -> Inputs:
        tiling = dict.fromkeys(self._tiling(len(pictures)), False)
        return {"images": [list(pictures.images)], "images_kwargs": tiling}

    def _film(self, pictures: Pictures) -> Inputs:
        metadata = VideoMetadata(
            total_num_frames=pictures.total or len(pictures),
            fps=pictures.fps,
            frames_indices=list(pictures.indices or range(len(pictures))),
            width=pictures.images[0].width,
            height=pictures.images[0].height,
        )
        options = {"do_sample_frames": False, "video_metadata": [metadata]}
        frames = np.stack([np.asarray(image) for image in pictures.images])
        return {"videos": [frames], "videos_kwargs": options}

    def _tiling(self, count: int) -> list[str]:
        image_processor = self.processor.image_processor
        return [name for name in _TILING if count > 1 and hasattr(image_processor, name)]

    def _check(self, text: str) -> None:
        for mark in self._marks(special=True):
            if mark in text:
                raise BadArgument(
                    f"{text!r}: holds {mark}, which is a control token of this model; take it out"
                    " of the question or the prompt"
                )

    def _marks(self, *, special: bool = False) -> list[str]:
        """Tokens that are cut out of a text before anything else is."""
        added = [t for t in self.tokenizer.added_tokens_decoder.values() if t.content.strip()]
        return [token.content for token in added if token.special or not special]

    def _cut(self, common: str) -> tuple[str, int] | None:
        """The last control token that all prompts share, and where it ends."""
        ends = {common.rfind(mark) + len(mark): mark for mark in self._marks() if mark in common}
        return (ends[max(ends)], max(ends)) if ends else None

    def _behind(self, mark: str, text: str) -> list[int] | None:
        """Ids of a text that stands behind a control token; None if it does not keep apart."""
        ids: list[int] = self.tokenizer(mark + text, add_special_tokens=False)["input_ids"]
        alone = self.tokenizer.convert_tokens_to_ids(mark)
        return ids[1:] if ids and ids[0] == alone else None


def _same(rows: Sequence[str] | Sequence[list[int]]) -> int:
    """How many letters or ids all of them begin with."""
    columns = enumerate(zip(*rows, strict=False))
    return next((n for n, column in columns if len(set(column)) > 1), min(map(len, rows)))


def _per_token(inputs: Inputs) -> list[str]:
    """Names of the tensors with a number for each token."""
    shape = inputs["input_ids"].shape
    return [
        name
        for name, value in inputs.items()
        if isinstance(value, Tensor) and value.shape == shape and not value.is_floating_point()
    ]
