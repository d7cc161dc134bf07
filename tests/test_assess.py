import io
import json
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest

import vqa
from features.clip import Clip
from features.encode import write_clip
from vqa.assess import ChecklistScorer, Source
from vqa.errors import BadArgument, BadChecklist, MissingCheckpoint, MissingFile, NotAvailable
from vqa.judges.base import Ask
from vqa.judges.scripted import Scripted
from vqa.sample import All, PerSecond, Uniform
from vqa.score import Answer

FRAMES = 12


def _frames(seed: int = 0) -> npt.NDArray[np.uint8]:
    """A texture that moves two pixels per frame, (T, H, W, 3)."""
    texture = np.random.default_rng(seed).integers(0, 255, (12, 16, 3), np.uint8)
    big = texture.repeat(8, axis=0).repeat(8, axis=1)
    return np.stack([np.roll(big, 2 * t, axis=1) for t in range(FRAMES)])


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_clip(tmp_path_factory.mktemp("clips") / "clip.mp4", _frames(), fps=4)


def _scorer(**options: Any) -> ChecklistScorer:
    options.setdefault("judge", Scripted({}, default=0.75))
    scorer: ChecklistScorer = vqa.load("visionreward-video", **options)
    return scorer


def test_score_holds_answers_features_and_what_was_seen(clip: str) -> None:
    score = _scorer().score(clip, prompt="noise that moves")
    assert score.status == "ok" and score.coverage == 1.0
    assert score.value == pytest.approx(6.277172601007019 * 0.5 / 29)
    assert score.dimensions["dynamic"] == pytest.approx(0.5 * (0.11168980468 + 0.05173789659) / 29)
    assert score.features["motion_speed_px"] == pytest.approx(2.0, abs=0.3)
    assert score.clip["frames"] == FRAMES and score.clip["codec"] == "h264"
    assert (score.path, score.prompt, score.scorer) == (
        clip,
        "noise that moves",
        "visionreward-video",
    )
    assert score.elapsed_s is not None and score.elapsed_s > 0
    json.dumps(score.row(), allow_nan=False)


def test_without_a_prompt_questions_about_it_are_not_asked(clip: str) -> None:
    score = _scorer().score(clip)
    assert score.dimensions["alignment"] is None
    assert score.coverage == pytest.approx(1 - (0.95439 + 0.25240 + 1.14182) / 6.27717, abs=1e-5)


@pytest.mark.parametrize("prompt", ["", "  \n"])
def test_empty_prompt_is_no_prompt(clip: str, prompt: str) -> None:
    score = _scorer().score(clip, prompt=prompt)
    assert score.prompt is None and score.dimensions["alignment"] is None


def test_judge_sees_the_frames_that_the_sampler_chose(clip: str) -> None:
    seen: list[tuple[int, ...]] = []

    def look(shown: Clip, question: vqa.Question) -> float:
        seen.append(shown.frames().shape)
        return 0.5

    questions = {"sampler": Uniform(3), "judge": Scripted(look)}
    score = _scorer(**questions).score(clip, prompt="p")
    assert set(seen) == {(3, 96, 128, 3)}
    assert list(score.sampled["indices"]) == [0, 5, 11]
    assert list(score.sampled["times_s"]) == [0.0, 1.25, 2.75]


def test_default_sampler_is_the_released_one_frame_per_second(clip: str) -> None:
    assert _scorer().sampler == PerSecond(limit=24)
    assert list(_scorer().score(clip).sampled["indices"]) == [0, 4, 8, 11]


@dataclass(frozen=True)
class Reader:
    """Answers every question with the number of frames it finds measured; decodes nothing."""

    name: str = "reader"
    sees: Literal["frames", "measurement"] = "measurement"

    def ask(
        self, clip: Clip, questions: Any, *, prompt: str | None = None, measurement: Any = None
    ) -> list[Answer]:
        return [q.answer(len(measurement.times_s) / 100) for q in questions]


def test_judge_of_measurements_is_asked_everything_and_saw_all_frames(clip: str) -> None:
    score = _scorer(judge=Reader()).score(clip, prompt="p")
    assert len(score.answers) == 64
    assert {a.p_yes for a in score.answers} == {FRAMES / 100}
    assert list(score.sampled["indices"]) == list(range(FRAMES))
    assert len(score.sampled["times_s"]) == FRAMES


def test_judge_that_skips_a_question_is_refused(clip: str) -> None:
    class Lazy(Reader):
        def ask(self, clip: Clip, questions: Any, **_: Any) -> list[Answer]:
            return [questions[0].answer(1.0)]

    with pytest.raises(BadArgument, match="'reader' gave 1 answers to 60 questions"):
        _scorer(judge=Lazy()).score(clip)


def test_path_bytes_file_and_clip_score_the_same(clip: str) -> None:
    path = Path(clip)
    sources: list[Source] = [
        path,
        path.read_bytes(),
        io.BytesIO(path.read_bytes()),
        Clip.open(path),
    ]
    scores = _scorer().score_many(sources)
    assert [s.status for s in scores] == ["ok"] * 4
    for score in scores:
        assert score.features == pytest.approx(scores[0].features, rel=1e-6)
    assert [s.path for s in scores] == [clip, None, None, clip]


def test_frames_in_memory_are_a_clip() -> None:
    score = _scorer(sampler="all").score(Clip.from_frames(_frames(), fps=4))
    assert score.path is None and score.clip["frames"] == FRAMES
    assert len(score.sampled["indices"]) == FRAMES


def test_an_error_costs_one_row(clip: str, tmp_path: Path) -> None:
    empty = tmp_path / "empty.mp4"
    empty.touch()
    scores = _scorer().score_many([clip, tmp_path / "none.mp4", empty, clip], ["a", "b", "c", "d"])
    assert [s.status for s in scores] == ["ok", "error", "error", "ok"]
    kinds = [s.error["kind"] for s in scores if s.error]
    assert kinds == ["missing_file", "empty_file"]
    assert [s.prompt for s in scores] == ["a", "b", "c", "d"]
    assert [s.position for s in scores] == [0, 1, 2, 3]
    assert len({tuple(s.row()) for s in scores}) == 1


def test_a_fault_of_a_judge_costs_one_row(clip: str) -> None:
    def fail(shown: Clip, question: vqa.Question) -> float:
        raise ZeroDivisionError("division by zero")

    (score,) = _scorer(judge=Scripted(fail)).score_many([clip])
    assert score.error is not None and score.error["kind"] == "internal_error"


@dataclass
class Together:
    """Judges several clips at once: P(yes) is the mean of the frames; black clips fail it."""

    at_once: int
    batches: list[int]
    whole: bool = False  # whether a black clip fails its batch, and not itself alone
    name: str = "together"
    sees: Literal["frames", "measurement"] = "frames"

    def ask_many(self, asks: Sequence[Ask]) -> list[list[Answer] | Exception]:
        self.batches.append(len(asks))
        return [self._answers(ask) for ask in asks]

    def ask(self, clip: Clip, questions: Sequence[vqa.Question], **_: Any) -> list[Answer]:
        found = self._answers(Ask(clip, questions))
        assert not isinstance(found, Exception)
        return found

    def _answers(self, ask: Ask) -> list[Answer] | Exception:
        light = float(ask.clip.frames().mean()) / 255
        if light == 0.0 and self.whole:
            raise ZeroDivisionError("black")
        return (
            ZeroDivisionError("black") if light == 0.0 else [q.answer(light) for q in ask.questions]
        )


def _gray(level: int) -> Clip:
    return Clip.from_frames(np.full((3, 32, 32, 3), level, np.uint8), fps=4)


def _light(score: vqa.Score) -> float | None:
    return score.answers[-1].p_yes if score.answers else None


@pytest.mark.parametrize(("at_once", "batches"), [(1, [1] * 5), (2, [2, 1, 2]), (9, [5])])
def test_a_judge_of_many_is_handed_that_many_clips(at_once: int, batches: list[int]) -> None:
    judge = Together(at_once, [])
    levels = [255, 51, None, 102, 204, 153]  # None cannot be opened
    sources: list[Source] = ["none.mp4" if level is None else _gray(level) for level in levels]
    prompts = [f"p{number}" for number in range(6)]
    scores = _scorer(judge=judge, sampler="all").score_many(sources, prompts)
    assert judge.batches == batches
    assert [_light(s) for s in scores] == pytest.approx([1.0, 0.2, None, 0.4, 0.8, 0.6])
    assert [s.error and s.error["kind"] for s in scores][2] == "missing_file"
    assert [(s.prompt, s.position) for s in scores] == list(zip(prompts, range(6), strict=True))


@pytest.mark.parametrize("whole", [False, True])
def test_a_clip_that_fails_in_a_batch_costs_its_own_row(whole: bool) -> None:
    judge = Together(3, [], whole)
    scores = _scorer(judge=judge, sampler="all").score_many([_gray(v) for v in (51, 0, 102, 255)])
    assert [_light(s) for s in scores] == pytest.approx([0.2, None, 0.4, 1.0])
    assert scores[1].error is not None and "black" in scores[1].error["message"]


def test_a_batch_with_too_few_answers_is_an_error_of_each_clip() -> None:
    class Lazy(Together):
        def ask_many(self, asks: Sequence[Ask]) -> list[list[Answer] | Exception]:
            return super().ask_many(asks[:1])

    scores = _scorer(judge=Lazy(4, []), sampler="all").score_many([_gray(51), _gray(102)])
    assert [_light(s) for s in scores] == pytest.approx([0.2, 0.4])  # one by one it answers


def test_a_question_reaches_the_judge_letter_by_letter(clip: str) -> None:
    sent: list[str] = []

    def listen(shown: Clip, question: vqa.Question) -> float:
        sent.append(question.text)
        return 0.5

    scorer = _scorer(judge=Scripted(listen))
    known = "Is the camera very stable?\n"
    texts = [known, known.strip(), f"  {known}", "Is it?\n\n", 'It says "no"?', "[[prompt]]", known]
    answers = scorer.ask(clip, texts, prompt="a fox")
    assert sent == texts
    assert [a.id for a in answers[:3]] == ["camera_stability.very_stable"] * 3
    sent.clear()
    scorer.score(clip, prompt="a fox")
    assert sum(text.endswith("\n") for text in sent) == 28  # as the released script reads its file


def test_score_of_a_missing_file_raises(tmp_path: Path) -> None:
    with pytest.raises(MissingFile):
        _scorer().score(tmp_path / "none.mp4")


def test_one_prompt_for_all_or_one_for_each(clip: str) -> None:
    assert [s.prompt for s in _scorer().score_many([clip, clip], "same")] == ["same", "same"]
    with pytest.raises(BadArgument, match="1 prompts for 2 clips"):
        _scorer().score_many([clip, clip], ["only one"])


def test_rank_puts_the_best_first_and_the_failed_last(clip: str, tmp_path: Path) -> None:
    sources: list[Source] = [tmp_path / "none.mp4", clip, Clip.from_frames(_frames(), fps=4), clip]
    judge = Scripted(lambda shown, question: 0.2 if shown.path else 0.9)
    ranked = _scorer(judge=judge).rank("a prompt", sources)
    assert [s.position for s in ranked] == [2, 1, 3, 0]


def test_ask_answers_questions_of_the_checklist_and_new_ones(clip: str) -> None:
    judge = Scripted({"camera_stability.very_stable": 0.9, "Is it a cat?": 0.1})
    asked = ["Is the camera very stable?", "camera_stability.very_stable", "Is it a cat?", "Is it?"]
    answers = _scorer(judge=judge).ask(clip, asked)
    assert [a.p_yes for a in answers] == [0.9, 0.9, 0.1, None]
    assert [a.id for a in answers][2:] == ["asked.3", "asked.4"]


def test_ask_about_the_prompt_needs_one(clip: str) -> None:
    scorer = _scorer(judge=Scripted({"alignment.all": 0.9}))
    assert scorer.ask(clip, ["alignment.all"])[0].p_yes is None
    assert scorer.ask(clip, ["alignment.all"], prompt="noise")[0].p_yes == 0.9


def test_image_scorer_asks_masks_and_alignment(clip: str) -> None:
    judge = Scripted({"alignment.vqascore": 0.5}, default=1.0)
    score = vqa.load("visionreward-image", judge=judge).score(clip, prompt="noise")
    assert score.coverage == 1.0
    assert score.scales["binary"] == pytest.approx(2.5 + 1.1771, abs=0.3)
    assert [a.id for a in score.answers[:2]] == ["alignment.vqascore", "body.present"]


def test_own_checklist_takes_the_place_of_the_shipped_one(clip: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("dimensions: {d: {s: [{id: a, rung: 1, weight: 2, text: T}]}}")
    for given in (file, str(file), vqa.Checklist.load(file)):
        score = _scorer(checklist=given).score(clip)
        assert score.value == 1.0 and list(score.dimensions) == ["d"]


def test_measure_gives_features_with_units(clip: str) -> None:
    features = vqa.measure(clip)
    assert features["motion_speed_px"] == pytest.approx(2.0, abs=0.3)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"name": "visionreward-vidoe"}, BadArgument, "did you mean 'visionreward-video'"),
        ({"name": "x"}, BadArgument, "Known: measured, visionreward-video, visionreward-image"),
        ({"name": "visionreward-video"}, MissingCheckpoint, "score with 'measured'"),
        ({"name": "visionreward-video", "checkpoint": "d"}, MissingCheckpoint, "no such folder"),
        ({"name": "visionreward-image", "judge": "measured"}, NotAvailable, "a judge of your own"),
        ({"name": "visionreward-video", "judge": "me"}, BadArgument, "no judge of that name"),
        ({"name": "measured", "sampler": "al"}, BadArgument, "did you mean 'all'"),
        ({"name": "measured", "checklist": "mine"}, BadChecklist, "no checklist of that name"),
    ],
)
def test_wrong_name_says_which_are_right(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        vqa.load(**options)


def test_scorer_travels_to_another_process(clip: str) -> None:
    scorer = _scorer(sampler=Uniform(3))
    copy: ChecklistScorer = pickle.loads(pickle.dumps(scorer))
    assert copy == scorer and copy.score(clip).value == scorer.score(clip).value


def test_sampler_is_a_value_or_a_name() -> None:
    assert _scorer(sampler="all").sampler == All()
    assert _scorer(sampler=Uniform(16)).sampler == Uniform(16)
