"""The alignment term: a rater answers it, the judge everything else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from huggingface_hub import constants

import vqa
from features.clip import Clip
from tests.golden import IMAGE, golden, medium
from tests.numbers import known
from tests.recipes import checkpoint
from vqa.assess import ChecklistScorer
from vqa.checklist import Checklist, Question
from vqa.errors import BadArgument, MissingCheckpoint, NoDecodableFrame, NotFinite
from vqa.judges.aligned import Aligned
from vqa.judges.base import Ask, BatchJudge, Judge
from vqa.judges.cogvlm2 import CogVLM2
from vqa.judges.scripted import Scripted
from vqa.score import Answer
from vqa.scorers.base import Rating, View

SHEET = Checklist.load("visionreward-image")
PROMPT = "two dogs run along a sandy beach at sunset"
PICTURE, CHECKED = next(item for item in golden(IMAGE)["media"].items() if "checklist" in item[1])
CLIP = Clip.from_frames(np.zeros((1, 16, 16, 3), np.uint8))


def _term() -> Question:
    assert SHEET.alignment is not None
    return SHEET.alignment


TERM, OTHER = _term(), SHEET.asked[0]


@dataclass
class Wide:
    """Rates a clip by its width; notes what it saw; fails on request."""

    seen: list[str | None] = field(default_factory=list)
    at_once: int = 4
    needs_prompt: bool = True

    def rate(self, views: Sequence[View]) -> list[Rating | Exception]:
        self.seen += [view.prompt for view in views]
        if any(view.clip.width == 13 for view in views):
            raise NoDecodableFrame("thirteen")
        return [Rating(float("nan") if v.clip.width == 7 else v.clip.width / 64) for v in views]


@dataclass
class Batched:
    """A judge of several clips at once: says half, and fails on clips of 5 pixels."""

    name: str = "batched"
    sees: Literal["frames", "measurement"] = "frames"
    at_once: int = 3
    asked: list[list[str]] = field(default_factory=list)

    def ask(
        self, clip: Clip, questions: Any, *, prompt: str | None = None, measurement: Any = None
    ) -> list[Answer]:
        raise AssertionError("one by one")

    def ask_many(self, asks: Sequence[Ask]) -> list[list[Answer] | Exception]:
        self.asked += [[q.id for q in ask.questions] for ask in asks]
        return [
            NoDecodableFrame("five")
            if ask.clip.width == 5
            else [q.answer(0.5) for q in ask.questions]
            for ask in asks
        ]


def _clip(width: int) -> Clip:
    return Clip.from_frames(np.zeros((1, 16, width, 3), np.uint8))


@pytest.fixture(scope="module")
def vqascore(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint("clip-flant5-tiny", tmp_path_factory.mktemp("vqascore"))


@pytest.fixture
def no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was fetched before, and nothing can be."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


@pytest.fixture(scope="module")
def scorer(image_model: Path, vqascore: Path) -> ChecklistScorer:
    return vqa.load(
        "visionreward-image",
        checkpoint={"visionreward-image": image_model, "vqascore": vqascore},
        device="cpu",
        dtype="float32",
    )


def test_score_of_an_image_is_complete(scorer: ChecklistScorer, vqascore: Path) -> None:
    picture = medium(IMAGE, PICTURE)
    alignment = vqa.load("vqascore", checkpoint=vqascore, device="cpu", dtype="float32").score(
        picture, prompt=PROMPT
    )
    score = scorer.score(picture, prompt=PROMPT)
    due = SHEET.score(CHECKED["checklist"]["p_yes"], alignment=alignment.value)
    assert score.coverage == 1.0
    assert score.value == pytest.approx(due.value, abs=1e-4)
    assert score.scales["binary"] == pytest.approx(due.scales["binary"], abs=1e-4)
    (term,) = [answer for answer in score.answers if answer.id == TERM.id]
    assert term.p_yes == alignment.value
    assert term.contribution == pytest.approx(2.3542882631150923 * known(alignment.value))


def test_without_a_prompt_the_term_stays_open(scorer: ChecklistScorer) -> None:
    score = scorer.score(medium(IMAGE, PICTURE))
    assert score.dimensions["alignment"] is None and known(score.coverage) < 1.0


def test_without_a_checkpoint_the_term_stays_open(image_model: Path, no_cache: None) -> None:
    scorer = vqa.load("visionreward-image", checkpoint=image_model, device="cpu", dtype="float32")
    assert isinstance(scorer.judge, CogVLM2)
    score = scorer.score(medium(IMAGE, PICTURE), prompt=PROMPT)
    assert score.dimensions["alignment"] is None and known(score.coverage) < 1.0


def test_missing_judge_is_told_before_the_term_is_loaded(tmp_path: Path, no_cache: None) -> None:
    with pytest.raises(MissingCheckpoint, match="visionreward-image: needs a checkpoint"):
        vqa.load("visionreward-image", checkpoint={"vqascore": tmp_path / "missing"})


def test_judge_of_your_own_gets_the_term_if_its_checkpoint_is_given(vqascore: Path) -> None:
    own = Scripted({}, default=0.5)
    assert vqa.load("visionreward-image", judge=own).judge is own
    scorer = vqa.load(
        "visionreward-image",
        judge=own,
        checkpoint={"vqascore": vqascore},
        device="cpu",
        dtype="float32",
    )
    score = scorer.score(medium(IMAGE, PICTURE), prompt=PROMPT)
    assert score.coverage == 1.0 and 0 < known(score.value) < 0.01  # all else says "half"


def test_checklist_without_the_term_needs_no_rater(vqascore: Path) -> None:
    own = Scripted({}, default=0.5)
    scorer = vqa.load(
        "visionreward-image",
        judge=own,
        checklist="visionreward-video",
        checkpoint={"vqascore": vqascore},
    )
    assert scorer.judge is own


def test_unknown_network_is_refused() -> None:
    with pytest.raises(BadArgument, match="has no network 'vqa', but visionreward-image, vqascore"):
        vqa.load("visionreward-image", checkpoint={"vqa": "x"})


def test_judge_is_not_asked_for_the_term() -> None:
    inner, rater = Batched(), Wide()
    answers = Aligned(inner, rater).ask(_clip(16), [OTHER, TERM, SHEET.asked[1]], prompt=PROMPT)
    assert inner.asked == [[OTHER.id, SHEET.asked[1].id]]
    assert [answer.id for answer in answers] == [OTHER.id, TERM.id, SHEET.asked[1].id]
    assert [answer.p_yes for answer in answers] == [0.5, 0.25, 0.5]
    assert rater.seen == [PROMPT]


def test_nobody_is_bothered_in_vain() -> None:
    inner, rater = Batched(), Wide()
    judge = Aligned(inner, rater)
    assert judge.ask(_clip(16), [TERM], prompt=PROMPT)[0].p_yes == 0.25
    assert inner.asked == []
    assert judge.ask(_clip(16), [OTHER], prompt=PROMPT)[0].p_yes == 0.5
    assert judge.ask(_clip(16), [TERM], prompt=None)[0].p_yes is None
    judge.ask_many([Ask(_clip(5), [TERM, OTHER], PROMPT)])  # the judge fails on it
    assert rater.seen == [PROMPT]


def test_what_fails_costs_its_own_clip_only() -> None:
    widths = (16, 5, 13, 7, 32)
    asks = [Ask(_clip(width), [TERM, OTHER], PROMPT) for width in widths]
    found = Aligned(Batched(), Wide()).ask_many(asks)
    assert [type(one) for one in found] == [
        list,
        NoDecodableFrame,
        NoDecodableFrame,
        NotFinite,
        list,
    ]
    assert [str(one) for one in found[1:3]] == ["five", "thirteen"]
    kept = [one for one in found if not isinstance(one, Exception)]
    assert [[a.p_yes for a in answers] for answers in kept] == [[0.25, 0.5], [0.5, 0.5]]


def test_ask_raises_what_went_wrong() -> None:
    with pytest.raises(NoDecodableFrame, match="five"):
        Aligned(Batched(), Wide()).ask(_clip(5), [TERM, OTHER], prompt=PROMPT)
    with pytest.raises(NotFinite, match="alignment term left the range"):
        Aligned(Batched(), Wide()).ask(_clip(7), [TERM], prompt=PROMPT)


def test_judge_that_takes_one_clip_at_a_time_is_asked_so() -> None:
    def look(clip: Clip, question: Question) -> float:
        if clip.width == 5:
            raise NoDecodableFrame("five")
        return clip.width / 32

    asks = [Ask(_clip(width), [OTHER, TERM], PROMPT) for width in (16, 5, 32)]
    judge = Aligned(Scripted(look), Wide())
    found = judge.ask_many(asks)
    assert isinstance(found[1], NoDecodableFrame) and judge.at_once == 1
    kept = [one for one in found if not isinstance(one, Exception)]
    assert [[a.p_yes for a in answers] for answers in kept] == [[0.5, 0.25], [1.0, 0.5]]


def test_judge_that_skips_a_question_is_told_off_by_name() -> None:
    class Lazy(Batched):
        def ask_many(self, asks: Sequence[Ask]) -> list[list[Answer] | Exception]:
            return [[ask.questions[0].answer(1.0)] for ask in asks]

    judge = Aligned(Lazy("lazy"), Wide())
    with pytest.raises(BadArgument, match=r"'lazy\+alignment' gave 1 answers to 31 questions"):
        vqa.load("visionreward-image", judge=judge).score(CLIP, prompt=PROMPT)


def test_judge_of_measurements_is_refused() -> None:
    with pytest.raises(BadArgument, match="'batched': looks at measurements"):
        Aligned(Batched(sees="measurement"), Wide())


def test_it_is_a_judge_of_batches() -> None:
    judge: Judge = Aligned(Batched(), Wide())
    assert isinstance(judge, BatchJudge)
    assert (judge.name, judge.sees, judge.at_once) == ("batched+alignment", "frames", 3)
