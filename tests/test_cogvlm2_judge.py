"""CogVLM2 as a judge: through `vqa.load`, several clips at once, in the released scores."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import vqa
from features.clip import Clip
from features.encode import write_clip
from tests.conftest import gray_steps
from tests.golden import DATA, IMAGE, VIDEO, golden, medium, tensors
from tests.tiny import engine_of, golden_engine, of_state
from vqa.checklist import Checklist
from vqa.errors import BadArgument, BadCheckpoint, MissingCheckpoint, NotFinite
from vqa.judges.base import Ask, BatchJudge, Judge
from vqa.judges.cogvlm2 import CogVLM2
from vqa.models.cogvlm2.config import Config
from vqa.models.cogvlm2.engine import Look
from vqa.score import weigh

pytestmark = pytest.mark.usefixtures("one_thread")

MEDIA = [(name, key) for name in (VIDEO, IMAGE) for key in golden(name)["media"]]
NAMES = {VIDEO: "visionreward-video", IMAGE: "visionreward-image"}
SHEETS = {name: Checklist.load(known) for name, known in NAMES.items()}
FP32 = golden(VIDEO)["tolerance"]["fp32"]
LOAD: dict[str, Any] = {"device": "cpu", "dtype": "float32"}
engine = lru_cache(golden_engine)


@lru_cache
def _clip(name: str, key: str) -> Clip:
    return Clip.from_frames(medium(name, key), fps=8)


def _media(name: str, key: str) -> dict[str, Any]:
    found: dict[str, Any] = golden(name)["media"][key]
    return found


@pytest.fixture(scope="module")
def scorers(video_model: Path, image_model: Path) -> dict[str, vqa.ChecklistScorer]:
    """Both scorers, loaded from their folders as anybody would."""
    folders = {VIDEO: video_model, IMAGE: image_model}
    found: dict[str, Any] = {
        name: vqa.load(NAMES[name], checkpoint=folder, sampler="all", **LOAD)
        for name, folder in folders.items()
    }
    return found


@pytest.mark.parametrize(("name", "key"), MEDIA)
def test_loaded_scorer_answers_questions_as_the_reference_does(
    name: str, key: str, scorers: dict[str, vqa.ChecklistScorer]
) -> None:
    questions = _media(name, key)["questions"]
    answers = scorers[name].ask(_clip(name, key), [q["query"] for q in questions])
    for answer, question in zip(answers, questions, strict=True):
        told = question["fp32"]
        assert answer.p_yes == pytest.approx(told["p_yes"], abs=FP32["p_yes_atol"])
        for found, logit in ((answer.logit_yes, "yes_logit"), (answer.logit_no, "no_logit")):
            assert found == pytest.approx(told[logit], abs=FP32["logit_atol"])


@pytest.mark.parametrize(("name", "key"), MEDIA)
def test_loaded_scorer_answers_the_whole_checklist_as_the_reference_does(
    name: str, key: str, scorers: dict[str, vqa.ChecklistScorer]
) -> None:
    media, asked = _media(name, key), SHEETS[name].asked
    answers = scorers[name].ask(_clip(name, key), asked, prompt=media["prompt"])
    assert [answer.id for answer in answers] == [question.id for question in asked]
    found = [answer.p_yes for answer in answers]
    assert found == pytest.approx(media["checklist"]["p_yes"], abs=FP32["p_yes_atol"])


@pytest.mark.parametrize("key", golden(VIDEO)["media"])
def test_score_of_a_video_weighs_the_answers_of_the_reference(
    key: str, scorers: dict[str, vqa.ChecklistScorer]
) -> None:
    media = _media(VIDEO, key)
    score = scorers[VIDEO].score(_clip(VIDEO, key), prompt=media["prompt"])
    expected = SHEETS[VIDEO].score(media["checklist"]["p_yes"])
    assert score.value == pytest.approx(expected.value, abs=FP32["p_yes_atol"])
    assert score.coverage == 1.0 and score.scorer == "visionreward-video"
    assert len(score.sampled["indices"]) == len(medium(VIDEO, key))


def test_dtype_is_bfloat16_unless_told(video_model: Path) -> None:
    checklist = _media(VIDEO, "v1_t6")["checklist"]
    scorer = vqa.load("visionreward-video", checkpoint=video_model, device="cpu", sampler="all")
    prompt = _media(VIDEO, "v1_t6")["prompt"]
    answers = scorer.ask(_clip(VIDEO, "v1_t6"), SHEETS[VIDEO].asked, prompt=prompt)
    found = [answer.p_yes for answer in answers]
    tolerance = golden(VIDEO)["tolerance"]["bf16"]["p_yes_atol"]
    assert found == pytest.approx(checklist["p_yes_bf16"], abs=tolerance)
    assert found != pytest.approx(checklist["p_yes"], abs=FP32["p_yes_atol"])


def test_judge_sees_the_frames_that_the_sampler_chose(
    scorers: dict[str, vqa.ChecklistScorer],
) -> None:
    asked = SHEETS[VIDEO].asked[3:6]
    clip = _clip(VIDEO, "v1_t6")
    found = replace(scorers[VIDEO], sampler=vqa.Uniform(2)).ask(clip, asked)
    two = Clip.from_frames(medium(VIDEO, "v1_t6")[[0, 5]], fps=8)
    expected = scorers[VIDEO].ask(two, asked)
    assert [a.p_yes for a in found] == pytest.approx([a.p_yes for a in expected], abs=1e-6)


# --- what the released scripts print -------------------------------------------------------------


@pytest.mark.parametrize("key", golden(VIDEO)["media"])
def test_binary_of_literal_replies_is_the_released_score(key: str) -> None:
    """Where another token is likelier than both, P(yes) alone would call some a yes."""
    media, judge = _media(VIDEO, key), CogVLM2(engine(VIDEO), reply_tokens=1)
    answers = judge.ask(_clip(VIDEO, key), SHEETS[VIDEO].asked, prompt=media["prompt"])
    assert [answer.reply for answer in answers] == media["checklist"]["argmax_text"]
    score = weigh(SHEETS[VIDEO], answers)
    assert score.scales["binary"] == pytest.approx(media["checklist"]["score"], abs=1e-9)


def test_released_score_of_a_loaded_judge(video_model: Path) -> None:
    judge = CogVLM2.load(video_model, reply_tokens=1, kind="video", **LOAD)
    scorer: Any = vqa.load("visionreward-video", judge=judge, sampler="all")
    for key in ("v0_t1", "v1_t6"):
        media = _media(VIDEO, key)
        score = scorer.score(_clip(VIDEO, key), prompt=media["prompt"])
        assert score.scales["binary"] == pytest.approx(media["checklist"]["score"], abs=1e-9)


@pytest.mark.parametrize("key", golden(IMAGE)["media"])
def test_first_token_of_an_image_gives_the_score_of_the_reference(key: str) -> None:
    """The fixture counts a first token yes; the released script wants the end after it."""
    checklist, judge = _media(IMAGE, key)["checklist"], CogVLM2(engine(IMAGE), reply_tokens=1)
    answers = judge.ask(_clip(IMAGE, key), SHEETS[IMAGE].asked)
    replies = [answer.reply for answer in answers]
    assert replies == checklist["argmax_text"]
    alignment = checklist["alignment_given"]
    ended = ["yes<|end_of_text|>" if reply == "yes" else reply for reply in replies]
    score = SHEETS[IMAGE].score_texts(ended, alignment=alignment)
    assert score.scales["binary"] == pytest.approx(checklist["score"], abs=1e-9)
    unended = SHEETS[IMAGE].score_texts(replies, alignment=alignment)
    term = SHEETS[IMAGE].alignment
    assert term is not None
    given = weigh(SHEETS[IMAGE], [*answers, term.answer(alignment)])
    assert given.scales["binary"] == unended.scales["binary"]  # a yes that goes on is a no


def _stopping() -> CogVLM2:
    """A judge whose "yes" is followed by the end: see the embedding of the one, the row of it."""
    ids, state = golden(IMAGE)["token_ids"], dict(tensors(IMAGE))
    direction = torch.randn(64, generator=torch.Generator().manual_seed(0))
    head, table = state["lm_head.weight"].clone(), state["model.embed_tokens.weight"].clone()
    head[1000:] = 0.0
    head[ids["yes"]] *= 2.0
    head[ids["eos"]] = direction / 3
    table[ids["yes"]] = 20 * direction
    state |= {"lm_head.weight": head, "model.embed_tokens.weight": table}
    model = of_state(Config.read(DATA / IMAGE), state)
    return CogVLM2(engine_of(IMAGE, model), reply_tokens=2)


def test_two_tokens_of_an_image_are_the_released_yes() -> None:
    answers = _stopping().ask(_clip(IMAGE, "i0"), SHEETS[IMAGE].asked)
    replies = [answer.reply for answer in answers]
    yes = replies.count("yes<|end_of_text|>")
    assert 0 < yes < len(replies)
    assert (
        weigh(SHEETS[IMAGE], answers).scales["binary"]
        == (SHEETS[IMAGE].score_texts(replies).scales["binary"])
    )


# --- several clips, and what is wrong with some --------------------------------------------------


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[str | Clip]:
    """A good file, no video, a good clip in memory, too many frames, and the good file again."""
    folder = tmp_path_factory.mktemp("clips")
    good, bad, many = (str(folder / name) for name in ("good.mp4", "bad.mp4", "many.mp4"))
    Path(bad).write_text("not a video\n")
    write_clip(good, gray_steps(5), fps=4)
    write_clip(many, gray_steps(2, width=16, height=16) * 260, fps=60)
    return [good, bad, _clip(VIDEO, "v0_t1"), many, good]


def test_a_clip_that_fails_costs_its_own_row(
    clips: list[str | Clip], scorers: dict[str, vqa.ChecklistScorer]
) -> None:
    prompts = ["a", "b", None, "d", "e"]
    rows = scorers[VIDEO].score_many(clips, prompts)
    assert [row.error and row.error["kind"] for row in rows] == [
        *(None, "not_a_video", None, "bad_argument", None)
    ]
    assert [row.prompt for row in rows] == prompts
    assert [row.position for row in rows] == [0, 1, 2, 3, 4]
    for number in (0, 2, 4):
        alone = scorers[VIDEO].ask(clips[number], SHEETS[VIDEO].asked, prompt=prompts[number])
        found = [answer.p_yes for answer in rows[number].answers]
        assert found == pytest.approx([answer.p_yes for answer in alone], abs=1e-5)


def test_batches_of_any_size_give_the_same_rows(clips: list[str | Clip]) -> None:
    judge = CogVLM2(engine(VIDEO))
    scorer = vqa.load("visionreward-video", judge=judge, sampler="all")
    found = []
    for judge.at_once in (1, 2, 8):
        rows = scorer.score_many(clips[:3])
        assert [row.status for row in rows] == ["ok", "error", "ok"]
        found.append([row.value or 0.0 for row in rows])
    for values in found[1:]:
        assert values == pytest.approx(found[0], abs=1e-6)


def test_clips_are_handed_over_together() -> None:
    judge = CogVLM2(engine(VIDEO))
    assert isinstance(judge, BatchJudge)
    plain: Judge = judge
    assert (plain.name, plain.sees) == ("cogvlm2", "frames")
    asks = [Ask(_clip(VIDEO, key), SHEETS[VIDEO].asked[3:9]) for key in ("v1_t6", "v0_t1")]
    together = judge.ask_many(asks)
    for ask, answers in zip(asks, together, strict=True):
        assert not isinstance(answers, Exception)
        alone = judge.ask(ask.clip, ask.questions)
        assert [a.p_yes for a in answers] == pytest.approx([a.p_yes for a in alone], abs=1e-5)
    assert judge.ask_many([]) == []


def test_question_about_a_prompt_that_is_not_there_costs_its_own_clip() -> None:
    asked = SHEETS[VIDEO].asked
    asks = [Ask(_clip(VIDEO, "v0_t1"), asked[:1]), Ask(_clip(VIDEO, "v0_t1"), asked[3:4])]
    refused, answers = CogVLM2(engine(VIDEO)).ask_many(asks)
    assert isinstance(refused, BadArgument) and not isinstance(answers, Exception)


def _spoiled(name: str, key: str, value: float, row: int | None = None) -> CogVLM2:
    """A judge of float16 with a weight that is too large."""
    state = {name: weight.half() for name, weight in tensors(name).items()}
    state[key] = state[key].clone()
    state[key][slice(None) if row is None else row] = value
    return CogVLM2(engine_of(name, of_state(Config.read(DATA / name), state)))


def test_numbers_out_of_range_are_an_error_and_no_answer() -> None:
    judge = _spoiled(VIDEO, "model.layers.1.mlp.language_mlp.up_proj.weight", 60000.0)
    with pytest.raises(NotFinite, match="load it with dtype='bfloat16' or 'float32'"):
        judge.ask(_clip(VIDEO, "v0_t1"), SHEETS[VIDEO].asked[3:5])
    scorer: Any = vqa.load("visionreward-video", judge=judge)
    (row,) = scorer.score_many([_clip(VIDEO, "v0_t1")])
    assert row.error is not None and row.error["kind"] == "not_finite"


def test_an_infinite_logit_is_no_certainty() -> None:
    asked = SHEETS[VIDEO].asked[3:]
    judge = _spoiled(VIDEO, "lm_head.weight", 60000.0, golden(VIDEO)["token_ids"]["yes"])
    look = Look(judge.engine.pixels(medium(VIDEO, "v0_t1")), [q.text for q in asked])
    (readings,) = judge.engine.read([look])
    assert 1.0 in [one.p_yes for one in readings if np.isinf(one.logit_yes)]
    with pytest.raises(NotFinite):
        judge.ask(_clip(VIDEO, "v0_t1"), asked)


# --- images --------------------------------------------------------------------------------------


def test_image_file_is_scored_with_its_masks(
    scorers: dict[str, vqa.ChecklistScorer],
) -> None:
    file = DATA / IMAGE / _media(IMAGE, "i0")["file"]
    score = scorers[IMAGE].score(file)
    expected = SHEETS[IMAGE].score(_media(IMAGE, "i0")["checklist"]["p_yes"])
    assert expected.coverage is not None
    assert score.value == pytest.approx(expected.value, abs=1e-3)  # a sum of 27, not a mean
    assert score.coverage == expected.coverage < 1.0  # the alignment term needs a network more
    assert score.answers[0].id == "alignment.vqascore" and score.answers[0].p_yes is None


def test_transparency_is_dropped_as_released(
    scorers: dict[str, vqa.ChecklistScorer], tmp_path: Path
) -> None:
    picture = medium(IMAGE, "i0")[0]
    alpha = np.zeros_like(picture[..., :1])
    Image.fromarray(np.concatenate((picture, alpha), axis=-1)).save(tmp_path / "clear.png")
    question = _media(IMAGE, "i0")["questions"][1]
    (answer,) = scorers[IMAGE].ask(tmp_path / "clear.png", [question["query"]])
    assert answer.p_yes == pytest.approx(question["fp32"]["p_yes"], abs=FP32["p_yes_atol"])


def test_image_scorer_refuses_a_video(
    scorers: dict[str, vqa.ChecklistScorer],
) -> None:
    with pytest.raises(BadArgument, match=r"the image model judges one picture, not 6"):
        scorers[IMAGE].score(_clip(VIDEO, "v1_t6"))
    one = replace(scorers[IMAGE], sampler=vqa.Uniform(1))
    assert one.score(_clip(VIDEO, "v1_t6")).value is not None


# --- captions, and checkpoints of another kind ---------------------------------------------------


def test_caption_of_a_clip_is_text(video_model: Path) -> None:
    judge = CogVLM2(engine(VIDEO))
    clip = _clip(VIDEO, "v0_t1")
    pixels = judge.engine.pixels(clip.frames())
    for query in ("What is this?", "Please describe this video in detail."):
        told = judge.engine.describe(pixels, query, max_tokens=3)
        assert judge.caption(clip, query=query, max_tokens=3) == told
    assert judge.caption(clip, max_tokens=3) == told


@pytest.mark.parametrize("name", [VIDEO, IMAGE])
def test_checkpoint_of_the_other_kind_is_refused(
    name: str, video_model: Path, image_model: Path
) -> None:
    other = {VIDEO: image_model, IMAGE: video_model}[name]
    with pytest.raises(BadCheckpoint) as refused:
        vqa.load(NAMES[name], checkpoint=other, **LOAD)
    kinds = ["video", "image"] if name == VIDEO else ["image", "video"]
    assert all(kind in str(refused.value) for kind in kinds), refused.value


def test_no_checkpoint_is_told_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    for name, judge in (("visionreward-video", None), ("measured", "cogvlm2")):
        with pytest.raises(
            MissingCheckpoint, match=r"'zai-org/VisionReward-Video' fetches it \(25"
        ):
            vqa.load(name, judge=judge)
    with pytest.raises(MissingCheckpoint, match=r"run `vqa convert` once"):
        vqa.load("visionreward-image")
    with pytest.raises(MissingCheckpoint, match="no such folder"):
        vqa.load("visionreward-video", checkpoint=tmp_path / "none")
