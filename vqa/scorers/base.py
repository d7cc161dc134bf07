"""Networks that give numbers: of whole clips, or of pictures one by one.

A rater knows pixels and text; everything about files, batches, errors and rows is `vqa.scorer`. A
rater of pictures becomes one of clips with `PerFrame`: every frame that the sampler chose is rated,
and a stated reduction makes one number of them; the curve is kept.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from vqa.errors import BadArgument, MissingPrompt, NotFinite
from vqa.score import Score
from vqa.scorer import Scorer, Watched, attempt

if TYPE_CHECKING:
    from PIL import Image

    from features.clip import Clip


@dataclass(frozen=True, eq=False)
class View:
    """A clip with the frames that the sampler chose, and the prompt it was made from."""

    clip: Clip
    prompt: str | None = None


@dataclass(frozen=True, slots=True)
class Rating:
    """What a rater says about a clip, or about one picture.

    value -- on the rater's own scale. aspects -- named parts (VideoScore has five). scales -- the
    same on other scales. values -- one per frame, where frames were rated one by one.
    """

    value: float
    aspects: Mapping[str, float] = field(default_factory=dict)
    scales: Mapping[str, float] = field(default_factory=dict)
    values: Sequence[float] = ()


class ClipRater(Protocol):
    """Rates clips."""

    @property
    def at_once(self) -> int:
        """How many clips it likes to be handed at once."""
        ...

    @property
    def needs_prompt(self) -> bool:
        """Whether it cannot do without the prompt."""
        ...

    def rate(self, views: Sequence[View]) -> Sequence[Rating | Exception]:
        """Rate clips, in order; a clip that fails gives its exception and no more."""
        ...


@runtime_checkable
class ImageRater(Protocol):
    """Rates pictures."""

    @property
    def needs_prompt(self) -> bool:
        """Whether it cannot do without the prompt."""
        ...

    def rate_images(
        self, pairs: Sequence[tuple[Image.Image, str]]
    ) -> Sequence[float] | Sequence[Rating]:
        """Rate pictures, each with its prompt ("" where it needs none), in one batch, in order.

        A picture comes in its own mode: RGB from a video, anything from a file. A rater with more
        to say than a number gives Ratings, all with the same aspects and scales.
        """
        ...


REDUCTIONS: Mapping[str, Callable[[Sequence[float]], float]] = {
    "mean": statistics.fmean,
    "median": statistics.median,
    "min": min,
    "max": max,
    "last": lambda values: values[-1],
}


@dataclass(frozen=True, eq=False)
class PerFrame:
    """Rates a clip by its frames.

    reduce -- "mean", "median", "min", "max" or "last". The other reductions stand in `scales`.
    Aspects and scales of the pictures are reduced in the same way, each for itself.
    images_at_once -- how many pictures go through the network together.
    """

    rater: ImageRater
    reduce: str = "mean"
    images_at_once: int = 16
    at_once: int = 4

    def __post_init__(self) -> None:
        if self.reduce not in REDUCTIONS:
            raise BadArgument(f"{self.reduce!r}: no reduction; there are {', '.join(REDUCTIONS)}")

    @property
    def needs_prompt(self) -> bool:
        """That of its rater."""
        return self.rater.needs_prompt

    def rate(self, views: Sequence[View]) -> Sequence[Rating | Exception]:
        """Rate the frames of all clips in batches of `images_at_once`."""
        images = [attempt(view.clip.images) for view in views]
        pairs = [
            (image, view.prompt or "")
            for view, found in zip(views, images, strict=True)
            if not isinstance(found, Exception)
            for image in found
        ]
        ratings = iter(self._rate_all(pairs))
        return [
            found if isinstance(found, Exception) else self._reduced([next(ratings) for _ in found])
            for found in images
        ]

    def _rate_all(self, pairs: Sequence[tuple[Image.Image, str]]) -> list[Rating]:
        starts = range(0, len(pairs), self.images_at_once)
        chunks = (pairs[start : start + self.images_at_once] for start in starts)
        return [
            rated if isinstance(rated, Rating) else Rating(rated)
            for chunk in chunks
            for rated in self.rater.rate_images(chunk)
        ]

    def _reduced(self, ratings: Sequence[Rating]) -> Rating:
        values = [rating.value for rating in ratings]
        scales = {name: reduced(values) for name, reduced in REDUCTIONS.items()}
        return Rating(
            scales[self.reduce],
            aspects=self._each([rating.aspects for rating in ratings]),
            scales=scales | self._each([rating.scales for rating in ratings]),
            values=values,
        )

    def _each(self, named: Sequence[Mapping[str, float]]) -> dict[str, float]:
        reduced = REDUCTIONS[self.reduce]
        return {name: reduced([values[name] for values in named]) for name in named[0]}


@dataclass(frozen=True, kw_only=True)
class NetworkScorer(Scorer):
    """A rater behind the face of a scorer.

    `score.dimensions` are the rater's aspects; `score.sampled["values"]` what each frame got. There
    are no questions, so no answers, and the coverage is 1.
    """

    rater: ClipRater

    @property
    def at_once(self) -> int:
        """What the rater likes."""
        return self.rater.at_once

    def said(self, prompt: str | None) -> str | None:
        """Give the prompt as it is: networks rate for an empty text too, if told to."""
        return prompt

    def judge_batch(self, batch: Sequence[Watched]) -> Sequence[Score | Exception]:
        """Rate clips; those that lack a prompt the rater needs fail."""
        views = [self._view(watched) for watched in batch]
        ratings = iter(self.rater.rate([view for view in views if isinstance(view, View)]))
        return [
            view if isinstance(view, Exception) else self._score(next(ratings)) for view in views
        ]

    def _view(self, watched: Watched) -> View | Exception:
        if self.rater.needs_prompt and watched.prompt is None:
            return MissingPrompt(f"{self.name}: compares a clip with its prompt; give the prompt")
        return View(watched.clip, watched.prompt)

    def _score(self, rating: Rating | Exception) -> Score | Exception:
        if isinstance(rating, Exception):
            return rating
        if not all(map(math.isfinite, (rating.value, *rating.values))):  # max() overlooks a NaN
            return NotFinite(
                f"{self.name}: the network's numbers left the range of its dtype; load it with"
                " dtype='bfloat16' or 'float32'"
            )
        return Score(
            value=rating.value,
            scales=rating.scales,
            coverage=1.0,
            dimensions=rating.aspects,
            sampled={"values": rating.values} if rating.values else {},
        )
