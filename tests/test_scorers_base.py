"""What every scorer with a network does, with raters that are arithmetic on pixels."""

from __future__ import annotations

import io
import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from features.clip import Clip
from features.encode import write_clip
from tests.conftest import corners, gray_steps, which
from tests.numbers import known
from vqa.errors import BadArgument, BadFrames, MissingPrompt, NotAvailable, NotFinite
from vqa.sample import All, Sampler, Strided
from vqa.scorers.base import (
    REDUCTIONS,
    ClipRater,
    ImageRater,
    NetworkScorer,
    PerFrame,
    Rating,
    View,
)

U8 = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Gray:
    """A picture is worth its mean gray."""

    needs_prompt: bool = False

    def rate_images(self, pairs: Sequence[tuple[Image.Image, str]]) -> list[float]:
        return [float(np.asarray(image.convert("L")).mean()) for image, _ in pairs]


@dataclass(frozen=True)
class Told:
    """A picture is worth its mean gray for every letter of its prompt."""

    needs_prompt: bool = True

    def rate_images(self, pairs: Sequence[tuple[Image.Image, str]]) -> list[float]:
        return [float(np.asarray(image.convert("L")).mean()) * len(text) for image, text in pairs]


@dataclass(frozen=True)
class Channels:
    """A picture is worth the number of its channels; its parts are their means."""

    needs_prompt: bool = False

    def rate_images(self, pairs: Sequence[tuple[Image.Image, str]]) -> list[Rating]:
        return [self._rated(image) for image, _ in pairs]

    def _rated(self, image: Image.Image) -> Rating:
        means = zip(
            image.getbands(), np.atleast_1d(np.asarray(image).mean(axis=(0, 1))), strict=True
        )
        return Rating(len(image.getbands()), aspects={name: float(mean) for name, mean in means})


@dataclass(frozen=True)
class Root:
    """A picture is worth the root of its gray above 100; below, no number."""

    needs_prompt: bool = False

    def rate_images(self, pairs: Sequence[tuple[Image.Image, str]]) -> list[float]:
        grays = np.array(Gray().rate_images(pairs))
        with np.errstate(invalid="ignore"):
            roots: list[float] = np.sqrt(grays - 100).tolist()
        return roots


@dataclass(frozen=True)
class Inverse:
    """A clip is worth one through its mean; a black one spoils the whole batch, or only itself."""

    alone: bool
    at_once: int = 4
    needs_prompt: bool = False

    def rate(self, views: Sequence[View]) -> list[Rating | Exception]:
        means = [float(view.clip.frames().mean()) for view in views]
        if self.alone:
            return [Rating(1 / mean) if mean else ZeroDivisionError("black") for mean in means]
        return [Rating(1 / mean) for mean in means]


def _scorer(rater: ClipRater, *, sampler: Sampler | None = None) -> NetworkScorer:
    return NetworkScorer(name="arithmetic", sampler=sampler or All(), rater=rater)


def _steps(count: int, step: int = 10) -> U8:
    return np.stack(gray_steps(count, step=step))


def test_raters_of_pictures_are_told_from_raters_of_clips() -> None:
    assert isinstance(Gray(), ImageRater)
    assert not isinstance(Inverse(alone=True), ImageRater)
    assert not isinstance(PerFrame(Gray()), ImageRater)


@pytest.mark.parametrize(
    "reduce, value", {"mean": 30, "median": 20, "min": 0, "max": 100, "last": 10}.items()
)
def test_the_values_of_frames_become_one(reduce: str, value: float) -> None:
    frames = _steps(11)[[0, 2, 10, 2, 1]]  # gray 0, 20, 100, 20, 10
    score = _scorer(PerFrame(Gray(), reduce)).score(frames)
    assert score.value == score.scales[reduce] == pytest.approx(value)
    assert score.scales == pytest.approx(
        {"mean": 30, "median": 20, "min": 0, "max": 100, "last": 10}
    )
    assert (score.coverage, score.answers, score.scorer) == (1.0, (), "arithmetic")


def test_an_unknown_reduction_is_refused_with_those_there_are() -> None:
    with pytest.raises(BadArgument, match="'sum': no reduction; there are mean, median, min"):
        PerFrame(Gray(), "sum")


def test_the_curve_is_kept_in_the_row(steps_mp4: str) -> None:
    score = _scorer(PerFrame(Gray()), sampler=Strided(5)).score(steps_mp4)
    row = json.loads(json.dumps(score.row(), allow_nan=False))
    assert row["sampled"]["indices"] == [0, 4, 8, 12, 16]
    assert row["sampled"]["times_s"] == [0.0, 0.5, 1.0, 1.5, 2.0]
    assert row["sampled"]["values"] == pytest.approx([0, 40, 80, 120, 160], abs=3)
    assert row["score"] == pytest.approx(statistics.fmean(row["sampled"]["values"]))
    assert row["scales"]["last"] == row["sampled"]["values"][-1]


def test_scorers_of_whole_clips_have_no_curve() -> None:
    row = _scorer(Inverse(alone=True)).score(_steps(3)).row()
    assert "values" not in row["sampled"] and row["sampled"]["indices"] == [0, 1, 2]


def test_aspects_are_reduced_each_for_itself() -> None:
    red, blue = np.zeros((2, 1, 8, 8, 3), np.uint8)
    red[..., 0], blue[..., 2] = 200, 100
    clip = np.concatenate([red, blue])
    mean = _scorer(PerFrame(Channels())).score(clip)
    assert mean.dimensions == {"R": 100, "G": 0, "B": 50}
    most = _scorer(PerFrame(Channels(), "max")).score(clip)
    assert most.dimensions == {"R": 200, "G": 0, "B": 100} and most.value == 3


@given(
    counts=st.lists(st.integers(1, 7), min_size=1, max_size=6),
    images_at_once=st.integers(1, 20),
    reduce=st.sampled_from(sorted(REDUCTIONS)),
)
def test_batches_equal_singles_however_they_are_cut(
    counts: list[int], images_at_once: int, reduce: str
) -> None:
    views = [
        View(Clip.from_frames(_steps(count, step=number + 1)), "p" * number)
        for number, count in enumerate(counts)
    ]
    together = PerFrame(Told(), reduce, images_at_once=images_at_once).rate(views)
    alone = [PerFrame(Told(), reduce).rate([view])[0] for view in views]
    assert together == alone
    assert [len(one.values) for one in together if isinstance(one, Rating)] == counts


def test_one_clip_that_cannot_be_read_costs_one_row(steps_mp4: str, tmp_path: Path) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"no video at all")
    sources = [steps_mp4, str(tmp_path / "broken.mp4"), steps_mp4, str(tmp_path / "none.mp4")]
    scorer = _scorer(PerFrame(Gray()))
    scores = scorer.score_many(sources)
    assert [score.status for score in scores] == ["ok", "error", "ok", "error"]
    assert [score.position for score in scores] == [0, 1, 2, 3]
    assert [score.path for score in scores] == sources
    alone = scorer.score(steps_mp4)
    assert scores[0].value == scores[2].value == alone.value
    assert [score.error and score.error["kind"] for score in scores[1::2]] == [
        "not_a_video",
        "missing_file",
    ]


@pytest.mark.parametrize("alone", [False, True])
def test_a_clip_that_cannot_be_rated_costs_itself_only(alone: bool) -> None:
    clips = [_steps(3)[1:], _steps(1), _steps(3)[2:], _steps(2)[1:]]  # the second one is black
    scores = _scorer(Inverse(alone=alone)).score_many(clips)
    assert [score.value for score in scores] == [
        pytest.approx(1 / 15),
        None,
        pytest.approx(1 / 20),
        pytest.approx(1 / 10),
    ]
    assert scores[1].error is not None and scores[1].error["kind"] == "internal_error"


def test_a_prompt_that_is_needed_and_missing_costs_its_clip_only() -> None:
    clips = [_steps(3)] * 3
    first, none, empty = _scorer(PerFrame(Told())).score_many(clips, ["ab", None, ""])
    assert (first.value, first.prompt) == (20, "ab")
    assert none.error is not None and none.error["kind"] == "missing_prompt"
    assert (empty.value, empty.prompt, empty.error) == (0, "", None)  # a network can rate for ""
    with pytest.raises(MissingPrompt, match="arithmetic: compares a clip with its prompt; give"):
        _scorer(PerFrame(Told())).score(clips[0])
    assert _scorer(PerFrame(Gray())).score(clips[0]).value == 10


@pytest.mark.parametrize("reduce", REDUCTIONS)
def test_a_number_that_is_none_is_an_error_however_it_is_reduced(reduce: str) -> None:
    scorer = _scorer(PerFrame(Root(), reduce))
    assert math.isfinite(known(scorer.score(_steps(13)[11:]).value))
    with pytest.raises(NotFinite, match="left the range of its dtype"):
        scorer.score(_steps(13)[[12, 2, 11]])


def test_more_clips_than_are_rated_at_once_keep_their_places() -> None:
    clips = [_steps(count) for count in (2, 3, 4, 5, 6, 7)]
    scores = _scorer(PerFrame(Gray(), "last", at_once=4)).score_many(clips)
    assert [(score.position, score.value) for score in scores] == [
        (number, 10 * (number + 1)) for number in range(6)
    ]


def test_questions_are_for_scorers_with_a_judge() -> None:
    with pytest.raises(NotAvailable, match="gives numbers and answers no questions"):
        _scorer(PerFrame(Gray())).ask(_steps(1), ["Is it gray?"])


def test_ranked_clips_come_best_first_and_failures_last() -> None:
    clips: list[Any] = [_steps(2), "nowhere.mp4", _steps(5), _steps(3)]
    ranked = _scorer(PerFrame(Gray())).rank(None, clips)
    assert [score.position for score in ranked] == [2, 3, 0, 1]


def _with_alpha() -> Image.Image:
    image = Image.fromarray(corners()).convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    return image


STILLS = {
    "RGB": Image.fromarray(corners()),
    "RGBA": _with_alpha(),
    "P": Image.fromarray(corners()).convert("P"),
    "L": Image.fromarray(corners()).convert("L"),
    "LA": _with_alpha().convert("LA"),
}


@pytest.mark.parametrize("mode", STILLS)
def test_a_picture_keeps_its_mode_from_memory_and_from_a_file(mode: str, tmp_path: Path) -> None:
    image = STILLS[mode]
    image.save(tmp_path / "a.png")
    means = np.atleast_1d(np.asarray(image).mean(axis=(0, 1)))
    wanted = dict(zip(image.getbands(), means.tolist(), strict=True))
    path, scorer = tmp_path / "a.png", _scorer(PerFrame(Channels()))
    for source in (image, path, str(path), path.read_bytes(), io.BytesIO(path.read_bytes())):
        score = scorer.score(source)
        assert score.value == len(image.getbands())
        assert score.dimensions == pytest.approx(wanted)
        assert (score.clip["frames"], score.sampled["indices"]) == (1, [0])
    assert scorer.score(path).path == str(path) and scorer.score(image).path is None


def test_a_picture_is_turned_up_from_memory_and_from_a_file(tmp_path: Path) -> None:
    image, exif = Image.fromarray(corners()), Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    image.save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as lying:
        shown = [Clip.open(tmp_path / "a.png").images(), Clip.from_frames(lying).images()]
    wanted = np.rot90(corners(), -1)
    assert all(np.array_equal(np.asarray(one), wanted) for (one,) in shown)


def test_arrays_and_lists_of_frames_are_clips() -> None:
    scorer = _scorer(PerFrame(Gray()))
    frames = gray_steps(4)
    assert scorer.score(frames[3]).value == 30  # (H, W, 3) is one picture
    assert scorer.score(np.stack(frames)).value == 15
    assert scorer.score(frames).value == 15
    assert scorer.score([Image.fromarray(frame) for frame in frames]).value == 15
    assert scorer.score(Clip.from_frames(frames)).value == 15
    floats = np.stack(frames).astype(np.float32) / 255
    assert scorer.score(np.moveaxis(floats, 3, 1)).value == 15


def test_frames_of_a_video_come_as_rgb_in_order(steps_mp4: str) -> None:
    images = Strided(4)(Clip.open(steps_mp4)).images()
    assert {image.mode for image in images} == {"RGB"}
    assert which(np.stack([np.asarray(image) for image in images])) == [0, 5, 10, 15]


def test_what_is_no_picture_is_refused() -> None:
    with pytest.raises(BadFrames, match="frames have shape"):
        _scorer(PerFrame(Gray())).score(np.zeros((4, 4), np.uint8))


def test_a_clip_that_stops_early_is_rated_with_a_warning(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mkv", gray_steps(40, step=5), fps=8)
    raw = Path(path).read_bytes()
    (tmp_path / "cut.mkv").write_bytes(raw[: len(raw) * 2 // 3])
    score = _scorer(PerFrame(Gray()), sampler=Strided(3)).score(tmp_path / "cut.mkv")
    assert score.status == "ok" and score.warnings and len(score.sampled["values"]) == 3
