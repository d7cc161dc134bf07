"""Token ids and positions of a prompt.

    video, chat   BOS, then per frame: its vision tokens and its number; "Question: ... Answer:"
    otherwise     BOS, all vision tokens in one run; the text of the template

A prompt has a head, which is the same for every question about a clip, and a tail. Attention is
causal, so that the head of a clip need be computed once.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tokenizers import Tokenizer

from vqa.errors import BadArgument, BadCheckpoint
from vqa.models.cogvlm2.config import Config

# What stands before and after the question.
TEMPLATES = {
    "base": ("", ""),
    "chat": ("Question: ", " Answer:"),
    "vqa": ("Question: ", " Short answer:"),
}


@dataclass(frozen=True)
class Tokens:
    """A run of tokens: their ids, and which of them stand for vision (ids mean nothing there)."""

    ids: tuple[int, ...]
    vision: tuple[bool, ...]

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def text(cls, ids: Sequence[int]) -> Tokens:
        """Tokens of text."""
        return cls(tuple(ids), (False,) * len(ids))

    @classmethod
    def joined(cls, parts: Sequence[Tokens]) -> Tokens:
        """Runs one after the other."""
        return cls(
            tuple(id_ for part in parts for id_ in part.ids),
            tuple(seen for part in parts for seen in part.vision),
        )

    @cached_property
    def positions(self) -> tuple[int, ...]:
        """Position of each token; see `positions`."""
        return positions(self.vision)

    @cached_property
    def experts(self) -> tuple[int, ...]:
        """Places of the tokens that use vision experts: vision followed by vision, so never eoi."""
        pairs = zip(self.vision, self.vision[1:], strict=False)
        return tuple(place for place, (here, after) in enumerate(pairs) if here and after)


def positions(vision: Sequence[bool]) -> tuple[int, ...]:
    """Give the position of every token, the first at 0.

    The first and the last token of a run of vision tokens count like text. A token is one further
    than the one before it, except that the vision tokens inside a run share one position: a picture
    takes three positions, whatever its size.
    """
    found: list[int] = []
    for place, seen in enumerate(vision):
        inside = seen and place >= 2 and vision[place - 1] and vision[place - 2]
        last = place + 1 == len(vision) or not vision[place + 1]
        step = 0 if not found or (inside and not last) else 1
        found.append((found[-1] if found else 0) + step)
    return tuple(found)


@dataclass(frozen=True)
class Prompts:
    """Builds prompts for one checkpoint: its tokenizer, its sizes, a template."""

    tokenizer: Tokenizer
    config: Config
    template: str

    def __post_init__(self) -> None:
        if self.template not in TEMPLATES:
            raise BadArgument(
                f"{self.template!r}: no template of that name; there are {', '.join(TEMPLATES)}"
            )

    @classmethod
    def load(
        cls, folder: str | os.PathLike[str], config: Config, *, template: str | None = None
    ) -> Prompts:
        """Read tokenizer.json of a checkpoint; raises BadCheckpoint.

        template -- None takes what VisionReward uses: "chat" for video, "vqa" for images. (The
        `template_version` in config.json is not what the released scripts run with.)
        """
        file = Path(folder) / "tokenizer.json"
        try:
            tokenizer = Tokenizer.from_file(str(file))
        except Exception as error:  # the library raises plain Exception
            raise BadCheckpoint(
                f"{file}: cannot be read as a tokenizer ({error}); copy tokenizer.json of"
                " Meta-Llama-3-8B or of cogvlm2-llama3-caption there"
            ) from None
        return cls(tokenizer, config, template or ("vqa" if config.experts else "chat"))

    def encode(self, text: str) -> list[int]:
        """Ids of a text, on its own and without special tokens."""
        return list(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids without special tokens; ids that the tokenizer does not know are nothing."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True))

    def spell(self, ids: Sequence[int], *, stop: Sequence[int]) -> str:
        """Text of ids up to and including the first of `stop`, special tokens spelled out."""
        end = next((place + 1 for place, id_ in enumerate(ids) if id_ in stop), len(ids))
        return str(self.tokenizer.decode(list(ids[:end]), skip_special_tokens=False))

    def answer_token(self, text: str) -> int:
        """The one token that a reply such as "yes" starts with; raises BadCheckpoint."""
        ids = self.encode(text)
        if len(ids) != 1:
            raise BadCheckpoint(
                f"the tokenizer splits {text!r} into {len(ids)} tokens; P(yes) needs it to be one,"
                " as in the tokenizer of Llama-3"
            )
        return ids[0]

    def head(self, pictures: int) -> Tokens:
        """BOS and the pictures: what all questions about a clip share."""
        config = self.config
        size = config.vision.tokens
        picture = Tokens((config.pad_token_id,) * size, (True,) * size)
        found = [Tokens.text([config.bos_token_id])]
        for time in range(pictures):
            found.append(picture)
            if self.template == "chat" and not config.experts:
                found.append(Tokens.text(self.encode(str(time))))
        return Tokens.joined(found)

    def tail(self, query: str) -> Tokens:
        """The text of a question in the template, the question as it stands."""
        before, after = TEMPLATES[self.template]
        return Tokens.text(self.encode(before + query + after))

    def split(self, pictures: int, queries: Sequence[str]) -> tuple[Tokens, list[Tokens]]:
        """Give one head for all queries, and what each adds to it.

        The tokens of "Question:" go into the head unless some query melts into them. Raises
        BadArgument for a query without a token, which only the template "base" can make.
        """
        head, tails = self.head(pictures), [self.tail(query) for query in queries]
        for number, tail in enumerate(tails, start=1):
            if not len(tail):
                raise BadArgument(f"question {number} is empty; ask something, or leave it out")
        opening = Tokens.text(self.encode(TEMPLATES[self.template][0].rstrip()))
        size = len(opening)
        if not all(tail.ids[:size] == opening.ids and len(tail) > size for tail in tails):
            return head, tails
        return Tokens.joined([head, opening]), [Tokens.text(tail.ids[size:]) for tail in tails]
