"""The engine of CogVLM2 against the reference: every question of the checklists, however packed."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from features.clip import Clip
from tests.golden import DATA, IMAGE, VIDEO, golden, medium, tensors
from tests.tiny import (
    CPU,
    engine_of,
    golden_engine,
    greedy,
    of_state,
    small_model,
)
from vqa.checklist import Checklist
from vqa.errors import BadArgument, NotFinite
from vqa.models.cogvlm2.config import Config
from vqa.models.cogvlm2.engine import MAX_PICTURES, Engine, Look, Reading
from vqa.models.cogvlm2.forward import Runner
from vqa.models.cogvlm2.generate import generate
from vqa.models.cogvlm2.model import CogVLM2
from vqa.models.cogvlm2.prompt import Tokens

pytestmark = pytest.mark.usefixtures("one_thread")

MEDIA = [(name, key) for name in (VIDEO, IMAGE) for key in golden(name)["media"]]
TOLERANCE = golden(VIDEO)["tolerance"]
FP32, BF16 = TOLERANCE["fp32"], TOLERANCE["bf16"]
SHEETS = {
    VIDEO: Checklist.load("visionreward-video"),
    IMAGE: Checklist.load("visionreward-image"),
}
# The recordings allow for the kernels of two kinds of CPU; others round bfloat16 at other places.
SLACK = 1 if torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512") else 2
ATOL = 1e-5  # of P(yes), from one way of packing to another
engine = lru_cache(golden_engine)


def _queries(name: str, key: str) -> list[str]:
    prompt = golden(name)["media"][key]["prompt"]
    return [question.render(prompt) for question in SHEETS[name].asked]


@lru_cache
def _pixels(name: str, key: str) -> Tensor:
    return engine(name).pixels(medium(name, key))


def _look(name: str, key: str, numbers: list[int] | None = None) -> Look:
    queries = _queries(name, key)
    return Look(_pixels(name, key), queries if numbers is None else [queries[n] for n in numbers])


def _p_yes(readings: list[Reading]) -> list[float]:
    return [reading.p_yes for reading in readings]


def _expected(name: str, key: str, what: str = "p_yes") -> list[Any]:
    found: list[Any] = golden(name)["media"][key]["checklist"][what]
    return found


@lru_cache
def _packed(name: str) -> dict[str, list[Reading]]:
    """All questions about all media of a model in one go."""
    keys = list(golden(name)["media"])
    found = engine(name, token_budget=10**6).read([_look(name, key) for key in keys])
    return dict(zip(keys, found, strict=True))


@pytest.mark.parametrize(("name", "key"), MEDIA)
def test_packed_checklist_is_answered_as_the_reference_does(name: str, key: str) -> None:
    expected = _expected(name, key)
    assert len(expected) == {VIDEO: 29, IMAGE: 30}[name]
    assert _p_yes(_packed(name)[key]) == pytest.approx(expected, abs=FP32["p_yes_atol"])


@pytest.mark.parametrize(("name", "key"), MEDIA)
def test_checklist_one_question_a_pass_is_answered_as_the_reference_does(
    name: str, key: str
) -> None:
    (found,) = engine(name, token_budget=1).read([_look(name, key)])
    assert _p_yes(found) == pytest.approx(_expected(name, key), abs=FP32["p_yes_atol"])


@pytest.mark.parametrize(("name", "key"), MEDIA)
def test_each_question_on_its_own_is_answered_as_the_reference_does(name: str, key: str) -> None:
    """Nothing in common at all: the clip is encoded anew for each; every fifth of 24 frames."""
    expected = _expected(name, key)
    numbers = list(range(0, len(expected), 5 if key == "v2_t24" else 1))
    found = [engine(name).read([_look(name, key, [number])])[0][0] for number in numbers]
    assert _p_yes(found) == pytest.approx([expected[n] for n in numbers], abs=FP32["p_yes_atol"])


@pytest.mark.parametrize(("name", "key"), MEDIA)
def test_logits_are_those_of_the_reference(name: str, key: str) -> None:
    questions = golden(name)["media"][key]["questions"]
    (found,) = engine(name).read([Look(_pixels(name, key), [q["query"] for q in questions])])
    for reading, question in zip(found, questions, strict=True):
        told = [question["fp32"][f"{text}_logit"] for text in ("yes", "no")]
        assert [reading.logit_yes, reading.logit_no] == pytest.approx(told, abs=FP32["logit_atol"])
        assert _queries(name, key)[question["checklist_index"]] == question["query"]


@pytest.mark.parametrize(("name", "key"), MEDIA)
def test_bfloat16_is_within_the_tolerance_of_kernels(name: str, key: str) -> None:
    (found,) = engine(name, torch.bfloat16).read([_look(name, key)])
    off = np.abs(np.subtract(_p_yes(found), _expected(name, key, "p_yes_bf16")))
    assert off.max() <= SLACK * BF16["p_yes_atol"]
    assert off.mean() <= SLACK * BF16["checklist_mean_abs_p_yes"]
    for question in golden(name)["media"][key]["questions"]:
        reading, told = found[question["checklist_index"]], question["bf16"]
        assert reading.logit_yes == pytest.approx(told["yes_logit"], abs=BF16["logit_atol"])
        assert reading.logit_no == pytest.approx(told["no_logit"], abs=BF16["logit_atol"])


@pytest.mark.parametrize(("name", "key"), [(VIDEO, "v0_t1"), (IMAGE, "i0")])
def test_float16_is_near_float32(name: str, key: str) -> None:
    (found,) = engine(name, torch.float16).read([_look(name, key)])
    assert _p_yes(found) == pytest.approx(_expected(name, key), abs=0.02)


@pytest.mark.parametrize(("name", "key"), MEDIA)
def test_first_token_of_the_reply_is_that_of_the_reference(name: str, key: str) -> None:
    (found,) = engine(name).read([_look(name, key)], reply_tokens=1)
    assert [reading.reply for reading in found] == _expected(name, key, "argmax_text")
    assert _p_yes(found) == pytest.approx(_expected(name, key), abs=FP32["p_yes_atol"])


@pytest.mark.parametrize("number", range(len(golden(VIDEO)["other_templates"])))
def test_other_templates_are_answered_as_the_reference_does(number: int) -> None:
    one = golden(VIDEO)["other_templates"][number]
    prompts = replace(engine(VIDEO).prompts, template=one["template"])
    other = Engine.of(engine(VIDEO).packer.model, prompts, device=CPU)
    look = Look(_pixels(VIDEO, one["media"]), [one["query"], "What else?"])
    found = other.read([look])[0][0]
    assert found.p_yes == pytest.approx(one["fp32"]["p_yes"], abs=FP32["p_yes_atol"])
    assert found.logit_yes == pytest.approx(one["fp32"]["yes_logit"], abs=FP32["logit_atol"])


def test_a_loaded_checkpoint_answers_as_the_weights_do(image_model: Path) -> None:
    loaded = Engine.load(
        image_model, device="cpu", dtype="float32", template="chat", token_budget=50
    )
    assert (loaded.prompts.template, loaded.packer.budget) == ("chat", 50)
    prompts = replace(engine(IMAGE).prompts, template="chat")
    same = Engine.of(engine(IMAGE).packer.model, prompts, device=CPU, token_budget=50)
    looks = [_look(IMAGE, key, [0, 3, 9]) for key in ("i0", "i1")]
    assert loaded.read(looks) == same.read(looks)


numbers = st.lists(st.integers(0, 28), max_size=5)
company = st.lists(st.tuples(st.sampled_from(["v0_t1", "v1_t6"]), numbers), max_size=3)


@settings(deadline=None, max_examples=15)
@given(company, st.integers(1, 2000))
def test_order_and_company_change_no_answer(
    asked: list[tuple[str, list[int]]], budget: int
) -> None:
    looks = [_look(VIDEO, key, picked) for key, picked in asked]
    found = engine_of(VIDEO, engine(VIDEO).packer.model, token_budget=budget).read(looks)
    for (key, picked), readings in zip(asked, found, strict=True):
        expected = [_packed(VIDEO)[key][number].p_yes for number in picked]
        assert _p_yes(readings) == pytest.approx(expected, abs=ATOL)


def test_clips_with_equal_tokens_do_not_share_a_head() -> None:
    """The placeholders of two clips are the same; their pictures are not."""
    first, other = _look(VIDEO, "v1_t6"), Look(-_pixels(VIDEO, "v1_t6"), _queries(VIDEO, "v1_t6"))
    together = engine(VIDEO).read([first, other])
    apart = [engine(VIDEO).read([look])[0] for look in (other, first, other, other)]
    for readings in (apart[0], apart[2], apart[3]):
        assert _p_yes(readings) == pytest.approx(_p_yes(together[1]), abs=ATOL)
    assert _p_yes(apart[1]) == pytest.approx(_p_yes(together[0]), abs=ATOL)
    assert max(np.abs(np.subtract(_p_yes(together[0]), _p_yes(together[1])))) > 0.1


def test_nothing_asked_is_nothing_read() -> None:
    assert engine(VIDEO).read([]) == []
    assert engine(VIDEO).read([_look(VIDEO, "v0_t1", [])], reply_tokens=2) == [[]]


# --- words ---------------------------------------------------------------------------------------


def _words(name: str) -> dict[str, Tensor]:
    """Weights of a model that says words: its head has the rows of its tokenizer only."""
    state = dict(tensors(name))
    head = state["lm_head.weight"].clone()
    head[engine(name).prompts.tokenizer.get_vocab_size(with_added_tokens=False) :] = 0.0
    return state | {"lm_head.weight": head}


@lru_cache
def _stopping(name: str) -> Engine:
    """One that stops after "yes": the embedding of that word points where the row of the end does.

    "yes" is the likelier for it.
    """
    ids, state = golden(name)["token_ids"], _words(name)
    direction = torch.randn(64, generator=torch.Generator().manual_seed(0))
    head, table = state["lm_head.weight"], state["model.embed_tokens.weight"].clone()
    head[ids["yes"]] *= 2.0
    head[ids["eos"]] = direction / 3
    table[ids["yes"]], table[ids["eos"]] = 20 * direction, -20 * direction
    state |= {"model.embed_tokens.weight": table}
    return engine_of(name, of_state(Config.read(DATA / name), state))


def _prompt(one: Engine, look: Look, number: int) -> Tokens:
    prompts = one.prompts
    return Tokens.joined([prompts.head(len(look.pictures)), prompts.tail(look.queries[number])])


@pytest.mark.parametrize(("name", "key"), [(VIDEO, "v0_t1"), (IMAGE, "i0")])
def test_reply_of_two_tokens_is_read_as_if_it_were_generated(name: str, key: str) -> None:
    talker, look = _stopping(name), _look(name, key)
    (found,) = talker.read([look], reply_tokens=2)
    features, stop = talker.packer.model.see(look.pictures), talker.config.eos_token_ids
    for number in range(0, len(found), 3):
        written = greedy(talker.packer.model, _prompt(talker, look, number), features, 2)
        assert found[number].reply == talker.prompts.spell(written, stop=stop)
    replies = [reading.reply or "" for reading in found]
    ended = [reply == "yes<|end_of_text|>" for reply in replies]
    assert any(ended) and not all(ended)
    assert ended == [reply.startswith("yes") for reply in replies]
    assert _p_yes(found) == pytest.approx(_p_yes(talker.read([look])[0]), abs=ATOL)


@pytest.mark.parametrize(("name", "key"), [(VIDEO, "v1_t6"), (IMAGE, "i1")])
def test_reply_that_goes_on_is_no_plain_yes(name: str, key: str) -> None:
    talker = engine_of(name, of_state(Config.read(DATA / name), _words(name)))
    (found,) = talker.read([_look(name, key)], reply_tokens=2)
    assert "yes" in _expected(name, key, "argmax_text")
    assert "yes<|end_of_text|>" not in [reading.reply for reading in found]


@pytest.mark.parametrize("experts", [False, True])
@pytest.mark.parametrize("pictures", [0, 1, 2])
def test_generation_with_the_cache_is_that_of_full_passes(experts: bool, pictures: int) -> None:
    model = small_model(experts=experts)
    pixels = torch.randn(pictures, 3, 56, 56)
    picture = [Tokens((3,) * 6, (True,) * 6), Tokens.text([9])]
    prompt = Tokens.joined([Tokens.text([1]), *picture * pictures, Tokens.text([5, 6, 7])])
    features = model.see(pixels) if pictures else torch.empty(0, 6, 32)
    expected = greedy(model, prompt, features, 15)
    runner = Runner(model, CPU, 8)
    for limit in (0, 1, 15):
        assert generate(runner, prompt, pixels, stop=(), limit=limit) == expected[:limit]
    stop = expected[7]
    assert (
        generate(runner, prompt, pixels, stop=(stop,), limit=15)
        == (expected[: expected.index(stop)])
    )


@pytest.mark.parametrize(("name", "key"), [(VIDEO, "v0_t1"), (VIDEO, "v1_t6"), (IMAGE, "i0")])
def test_caption_is_what_full_passes_would_say(name: str, key: str) -> None:
    model, look = of_state(Config.read(DATA / name), _words(name)), _look(name, key)
    talker = engine_of(name, model)
    written = greedy(model, _prompt(talker, look, 0), model.see(look.pictures), 5)
    told = talker.describe(look.pictures, look.queries[0], max_tokens=5)
    assert told == talker.prompts.decode(written).strip()
    assert len(set(written)) > 1 and len(told) > 5


def test_caption_ends_where_the_model_stops() -> None:
    talker, look = _stopping(VIDEO), _look(VIDEO, "v0_t1")
    ids, model = golden(VIDEO)["token_ids"], talker.packer.model
    number = _expected(VIDEO, "v0_t1", "argmax_text").index("yes")
    written = greedy(model, _prompt(talker, look, number), model.see(look.pictures), 4)
    assert written[:2] == [ids["yes"], ids["eos"]]
    assert talker.prompts.decode(written) != "yes"  # it would go on
    assert talker.describe(look.pictures, look.queries[number]) == "yes"


def _overflowing(name: str) -> CogVLM2:
    """A model whose MLP leaves the range of float16."""
    state = {key: value.half() for key, value in tensors(name).items()}
    for key in ("gate_proj", "up_proj"):
        state[f"model.layers.1.mlp.language_mlp.{key}.weight"] = torch.full(
            (160, 64), 60000.0, dtype=torch.float16
        )
    return of_state(Config.read(DATA / name), state)


def test_caption_of_an_overflowing_network_is_an_error_and_no_babble() -> None:
    mad = engine_of(VIDEO, _overflowing(VIDEO))
    with pytest.raises(NotFinite, match="load it with dtype='bfloat16' or 'float32'"):
        mad.describe(_pixels(VIDEO, "v0_t1"), "Speak.")


# --- what goes in --------------------------------------------------------------------------------


def test_more_pictures_than_can_be_meant_are_refused() -> None:
    frames = np.zeros((MAX_PICTURES + 1, 2, 2, 3), np.uint8)
    with pytest.raises(
        BadArgument, match=r"513 frames are more than the 512 .* vqa\.Uniform\(24\)"
    ):
        engine(VIDEO).pixels(frames)


def test_image_model_takes_one_picture() -> None:
    with pytest.raises(
        BadArgument, match=r"judges one picture, not 6; .*sampler=vqa\.Uniform\(1\)"
    ):
        engine(IMAGE).pixels(medium(VIDEO, "v1_t6"))
    assert engine(IMAGE).pixels(medium(VIDEO, "v0_t1")).shape == (1, 3, 112, 112)


@pytest.mark.parametrize(("name", "key"), [(VIDEO, "v1_t6"), (IMAGE, "i1")])
def test_pictures_of_a_clip_are_the_pixels_of_its_frames(name: str, key: str) -> None:
    clip = Clip.from_frames(medium(name, key))
    assert torch.equal(engine(name).pictures(clip), _pixels(name, key))


def test_budget_must_hold_a_token() -> None:
    with pytest.raises(BadArgument, match="token_budget must be at least 1, not 0"):
        engine_of(VIDEO, engine(VIDEO).packer.model, token_budget=0)


def test_p_yes_is_the_softmax_of_the_two_logits() -> None:
    for yes, no in ((0.0, 0.0), (3.0, -2.5), (-40.0, 40.0), (1e4, 0.0), (0.0, 1e4)):
        exact = torch.tensor([yes, no], dtype=torch.float64).softmax(0)[0]
        assert Reading(yes, no).p_yes == pytest.approx(float(exact), rel=1e-12, abs=1e-300)
    assert math.isnan(Reading(math.nan, 0.0).p_yes)
    assert math.isnan(Reading(math.inf, math.inf).p_yes)
