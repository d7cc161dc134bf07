"""Vision-language models of transformers, tiny and random, loaded like real ones."""

from __future__ import annotations

import json
import math
import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers.cache_utils import DynamicCache

import vqa
from features.clip import Clip
from tests import tiny_vlm
from tests.conftest import busy
from vqa.checklist import Checklist, Question
from vqa.errors import (
    BadArgument,
    BadCheckpoint,
    MissingCheckpoint,
    NotAvailable,
    NotFinite,
    OutOfMemory,
)
from vqa.judges.base import Answers
from vqa.judges.vlm import VLM
from vqa.judges.wording import OF_FRAMES, worded
from vqa.models.vlm.engine import Engine
from vqa.models.vlm.prompts import Encoded, Pictures
from vqa.models.vlm.shared import shared
from vqa.score import Answer

Build = Callable[[Path], Path]

# Beyond 60 tokens all of a prompt, its first tokens included, is rotated by other angles: Phi-3.
stretched = partial(
    tiny_vlm.smolvlm,
    rope_parameters={
        "rope_type": "longrope",
        "rope_theta": 10000.0,
        "short_factor": [1.0] * 4,
        "long_factor": [1.0, 2.0, 4.0, 8.0],
        "original_max_position_embeddings": 60,
    },
)
SHARING: dict[str, Build] = {
    "smolvlm": tiny_vlm.smolvlm,
    "qwen2_5_vl": tiny_vlm.qwen2_5_vl,
    "qwen3_vl": tiny_vlm.qwen3_vl,
    "qwen3_5": tiny_vlm.qwen3_5,
    "internvl": tiny_vlm.internvl,
    "llava": tiny_vlm.llava,
    "sliding": partial(tiny_vlm.smolvlm, model_type="mistral", sliding_window=16),
}
ALONE: dict[str, Build] = {"paligemma": tiny_vlm.paligemma, "stretched": stretched}
# Question of visionreward-video that ask about the frames alone, and one about the prompt.
ASKED = [q for q in Checklist.load("visionreward-video").asked if not q.needs_prompt][:8]
CLIPS = [Clip.from_frames(np.stack(busy(n, width=w))) for n, w in ((3, 96), (4, 64), (1, 96))]
LEAD, _, _ = OF_FRAMES.partition("{question}")


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Threads that wait for each other take longer than such models."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a model, made when it is first wanted."""
    home = tmp_path_factory.mktemp("models")
    made: dict[str, Path] = {}

    def folder(name: str) -> Path:
        if name not in made:
            made[name] = (SHARING | ALONE)[name](home / name)
        return made[name]

    return folder


@pytest.fixture(scope="module")
def judges(folders: Callable[[str], Path]) -> Callable[[str], VLM]:
    loaded: dict[str, VLM] = {}

    def judge(name: str) -> VLM:
        if name not in loaded:
            loaded[name] = VLM.load(folders(name), device="cpu", dtype="float32")
        return loaded[name]

    return judge


def logits(answers: Sequence[Answer]) -> np.ndarray[Any, Any]:
    return np.array([[a.logit_yes, a.logit_no] for a in answers], float)


def one_by_one(engine: Engine, clip: Clip, questions: Sequence[Question]) -> np.ndarray[Any, Any]:
    """Log P(yes) and log P(no) from whole passes over what the checkpoint's processor makes."""
    images = [image.convert("RGB") for image in clip.images()]
    found = []
    for question in questions:
        text = worded(question.text, frames=len(images))
        inputs = engine.prompts.whole(Pictures(images), text)
        with torch.inference_mode():
            last = engine.packer.model(**inputs).logits[0, -1].double().log_softmax(-1)
        found.append([float(last[ids].logsumexp(-1)) for ids in (engine.yes, engine.no)])
    return np.array(found)


# Packing ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SHARING)
def test_packed_answers_equal_answers_one_by_one(name: str, judges: Callable[[str], VLM]) -> None:
    judge = judges(name)
    for clip in CLIPS:
        answers = judge.ask(clip, ASKED)
        alone = one_by_one(judge.engine, clip, ASKED)
        assert judge.engine.packs is True, judge.engine.why_not
        assert np.abs(logits(answers) - alone).max() < 1e-4
        expected = 1 / (1 + np.exp(alone[:, 1] - alone[:, 0]))
        assert np.abs(np.array([a.p_yes for a in answers]) - expected).max() < 1e-5
        assert np.ptp(expected) > 1e-3  # the questions make a difference


@pytest.mark.parametrize("name", SHARING)
def test_order_company_and_batches_do_not_matter(
    name: str, judges: Callable[[str], VLM], monkeypatch: pytest.MonkeyPatch
) -> None:
    judge, clip = judges(name), CLIPS[0]
    expected = dict(zip([q.id for q in ASKED], logits(judge.ask(clip, ASKED)), strict=True))
    rng = random.Random(0)
    for budget in (1, 300, 10**6):
        monkeypatch.setattr(judge.engine.packer, "budget", budget)
        some = rng.sample(ASKED, rng.randint(2, len(ASKED)))
        found = judge.ask(clip, some)
        assert [a.id for a in found] == [q.id for q in some]
        assert np.abs(logits(found) - [expected[q.id] for q in some]).max() < 2e-5


def test_a_clip_is_judged_by_its_own_pictures(judges: Callable[[str], VLM]) -> None:
    judge = judges("qwen2_5_vl")
    first, other, again = (logits(judge.ask(CLIPS[n], ASKED[:3])) for n in (0, 1, 0))
    assert np.array_equal(first, again) and np.abs(first - other).min() > 1e-5
    backwards = judge.ask(CLIPS[0].at([2, 1, 0]), ASKED[:3])
    assert np.abs(first - logits(backwards)).max() > 1e-5


def test_a_single_question_is_one_pass(judges: Callable[[str], VLM]) -> None:
    judge = judges("smolvlm")
    many, one = judge.ask(CLIPS[0], ASKED), judge.ask(CLIPS[0], ASKED[4:5])
    assert logits(one)[0] == pytest.approx(logits(many)[4], abs=1e-5)
    assert judge.ask(CLIPS[0], []) == []


def test_a_shared_cache_is_read_by_many_and_stays_as_it_is() -> None:
    cache: Any = DynamicCache()
    draw = torch.Generator().manual_seed(0)
    head = torch.randn(2, 1, 2, 5, 4, generator=draw)
    cache.update(*head, 0)
    new = torch.randn(2, 3, 2, 2, 4, generator=draw)
    for _ in range(2):
        keys, values = shared(cache, 3).update(*new, 0)
        for row in range(3):
            assert torch.equal(keys[row], torch.cat((head[0, 0], new[0, row]), dim=1))
            assert torch.equal(values[row], torch.cat((head[1, 0], new[1, row]), dim=1))
    assert torch.equal(cache.layers[0].keys, head[0]) and cache.get_seq_length() == 5


@pytest.mark.parametrize("name", ALONE)
def test_a_model_that_cannot_share_is_asked_one_by_one_and_says_so_once(
    name: str, folders: Callable[[str], Path], caplog: pytest.LogCaptureFixture
) -> None:
    judge = VLM.load(folders(name), device="cpu", dtype="float32")
    answers = [judge.ask(clip, ASKED[:4]) for clip in CLIPS[:2]]
    for clip, found in zip(CLIPS, answers, strict=False):
        assert np.abs(logits(found) - one_by_one(judge.engine, clip, ASKED[:4])).max() < 1e-4
        assert isinstance(found, Answers) and "a pass for each question" in found.warnings[0]
    told = [record for record in caplog.records if record.name == "vqa"]
    assert len(told) == 1 and "a pass for each question" in told[0].message


def test_in_bfloat16_packing_is_within_its_tolerance(folders: Callable[[str], Path]) -> None:
    judge = VLM.load(folders("qwen2_5_vl"), device="cpu", dtype="bfloat16")
    judge.ask(CLIPS[0], ASKED[:3])
    assert judge.engine.packs is True and judge.engine.packer.model.dtype == torch.bfloat16


# What is sent -----------------------------------------------------------------------------------


def test_pictures_come_first_and_the_question_is_verbatim(judges: Callable[[str], VLM]) -> None:
    prompts = judges("qwen2_5_vl").engine.prompts
    images = Pictures([Image.new("RGB", (56, 28))] * 2)
    text = prompts.tokenizer.decode(prompts.whole(images, "Is it?\n")["input_ids"][0])
    pad = "<|image_pad|>" * 2
    shown = f"<|vision_start|>{pad}<|vision_end|>" * 2
    assert text == (f"<|im_start|>user\n{shown}Is it?\n<|im_end|>\n<|im_start|>assistant\n")


@pytest.mark.parametrize("name", SHARING)
def test_head_and_tail_are_what_the_processor_makes(
    name: str, judges: Callable[[str], VLM]
) -> None:
    prompts = judges(name).engine.prompts
    images = Pictures(CLIPS[0].images())
    texts = [worded(q.text, frames=3) for q in ASKED]
    encoded = prompts.encode(images, texts, lead=LEAD)
    assert encoded is not None
    for number, text in enumerate(texts):
        expected, found = prompts.whole(images, text), encoded.whole(number)
        assert expected.keys() == found.keys()
        for key, value in expected.items():
            assert torch.equal(value, found[key]), key
    # What all begin with is in the head, and alone or together the cut is the same.
    words = len(prompts.tokenizer(LEAD, add_special_tokens=False)["input_ids"])
    alone = prompts.encode(images, texts[:1], lead=LEAD)
    bare = prompts.encode(images, texts[:1])
    assert alone is not None and alone.length == encoded.length
    assert bare is not None and encoded.length - bare.length >= words - 2


def test_frames_stay_whole_and_a_picture_alone_is_split(judges: Callable[[str], VLM]) -> None:
    """A frame is one tile; a picture as many as the checkpoint says."""
    tiles = {}
    for name, per_tile in (("smolvlm", 4), ("internvl", 4)):
        engine = judges(name).engine
        token = engine.packer.model.config.image_token_id
        for count in (1, 3):
            inputs = engine.prompts.whole(Pictures(CLIPS[0].images()[:count]), "Is it?")
            tiles[name, count] = int((inputs["input_ids"] == token).sum()) / per_tile / count
    assert tiles["smolvlm", 3] == tiles["internvl", 3] == 1
    assert tiles["smolvlm", 1] > 1 and tiles["internvl", 1] > 1


def test_a_template_of_your_own_and_the_prompt_reach_the_model(
    folders: Callable[[str], Path], judges: Callable[[str], VLM]
) -> None:
    engine = judges("smolvlm").engine
    about = Question(id="p", text='Does it show "[[prompt]]"?')
    mine = VLM(engine, template="Q: {question} A:")
    for prompt in ("a wall", "a house"):
        (answer,) = mine.ask(CLIPS[0], [about], prompt=prompt)
        text = f'Q: Does it show "{prompt}"? A:'
        images = Pictures(CLIPS[0].images())
        expected = engine.packer.full(engine.prompts.whole(images, text)).log_softmax(-1)
        assert answer.logit_yes == pytest.approx(
            float(expected[engine.yes].logsumexp(-1)), abs=1e-5
        )


def test_large_frames_are_made_smaller_before_they_cost_tokens(
    judges: Callable[[str], VLM],
) -> None:
    engine = judges("qwen2_5_vl").engine
    asked = ASKED[:2]
    large = VLM(engine, max_pixels=None).ask(CLIPS[0], asked)
    small = VLM(engine, max_pixels=28 * 28).ask(CLIPS[0], asked)
    alone = VLM(engine, max_pixels=28 * 28).ask(CLIPS[2], asked)
    assert np.abs(logits(large) - logits(small)).max() > 1e-5
    assert np.array_equal(logits(alone), logits(VLM(engine, max_pixels=None).ask(CLIPS[2], asked)))


# Yes and no -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "mark"), [("qwen2_5_vl", "\u0120"), ("smolvlm", "\u0120"), ("llava", "\u2581")]
)
def test_every_spelling_that_the_tokenizer_has_is_found(
    name: str, mark: str, judges: Callable[[str], VLM]
) -> None:
    engine = judges(name).engine
    vocabulary = engine.prompts.tokenizer.get_vocab()
    for side, ids in (("yes", engine.yes), ("no", engine.no)):
        spelled = {token for token, number in vocabulary.items() if number in ids}
        assert {side, side.title(), mark + side, mark + side.title()} <= spelled
        assert {token.strip(mark).lower() for token in spelled} == {side}
        others = set(vocabulary) - spelled
        assert not {token for token in others if token.strip(mark + " ").lower() == side}


def test_p_yes_is_the_softmax_mass_of_all_spellings(judges: Callable[[str], VLM]) -> None:
    judge = judges("smolvlm")
    (answer,) = judge.ask(CLIPS[0], ASKED[:1])
    inputs = judge.engine.prompts.whole(
        Pictures(CLIPS[0].images()), worded(ASKED[0].text, frames=3)
    )
    with torch.inference_mode():
        share = judge.engine.packer.model(**inputs).logits[0, -1].double().softmax(-1)
    vocabulary = judge.engine.prompts.tokenizer.get_vocab()
    mass = {"yes": 0.0, "no": 0.0}
    for token, number in vocabulary.items():
        word = token.replace("\u0120", "").lower()
        if word in mass:
            mass[word] += float(share[number])
    assert answer.p_yes == pytest.approx(mass["yes"] / (mass["yes"] + mass["no"]), abs=1e-6)
    assert answer.logit_yes == pytest.approx(math.log(mass["yes"]), abs=1e-5)


def test_numbers_out_of_range_are_an_error(folders: Callable[[str], Path]) -> None:
    judge = VLM.load(folders("smolvlm"), device="cpu", dtype="float32")
    judge.engine.packer.model.get_output_embeddings().weight.data.fill_(math.nan)
    with pytest.raises(NotFinite, match="bfloat16"):
        judge.ask(CLIPS[0], ASKED[:1])


# What is refused --------------------------------------------------------------------------------


@pytest.fixture
def copied(folders: Callable[[str], Path], tmp_path: Path) -> Callable[[str], Path]:
    def copy(name: str) -> Path:
        return Path(shutil.copytree(folders(name), tmp_path / name))

    return copy


def edited(path: Path, **changes: Any) -> None:
    """Change keys of a JSON file; None takes one out."""
    found = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in found.items() if value is not None}))


def refusal(error: type[Exception], folder: Path, **options: Any) -> str:
    with pytest.raises(error) as refused:
        VLM.load(folder, **{"device": "cpu", "dtype": "float32", **options})
    assert str(folder) in str(refused.value)
    return str(refused.value)


def test_a_missing_tensor_is_not_made_up(copied: Callable[[str], Path]) -> None:
    folder = copied("smolvlm")
    state = load_file(folder / "model.safetensors")
    name = next(name for name in state if name.endswith("down_proj.weight"))
    save_file({k: v for k, v in state.items() if k != name}, folder / "model.safetensors")
    assert "lacks" in (said := refusal(BadCheckpoint, folder)) and "down_proj.weight" in said
    save_file(state | {name: torch.zeros(3, 3)}, folder / "model.safetensors")
    assert "down_proj.weight" in refusal(BadCheckpoint, folder)


def test_pickles_are_not_loaded(copied: Callable[[str], Path]) -> None:
    folder = copied("smolvlm")
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    assert "safetensors" in refusal(BadCheckpoint, folder)


def test_code_that_comes_with_a_checkpoint_is_never_run(
    copied: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copied("smolvlm")
    code = "raise SystemExit('I was run')\n"
    (folder / "evil.py").write_text(code)
    places = {name: f"evil.{name}" for name in ("AutoConfig", "AutoModelForImageTextToText")}
    edited(folder / "config.json", auto_map=places)
    for file, name in (
        ("processor_config.json", "AutoProcessor"),
        ("preprocessor_config.json", "AutoImageProcessor"),
    ):
        edited(folder / file, auto_map={name: f"evil.{name}"})
    edited(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.T", "evil.T"]})
    assert VLM.load(folder, device="cpu", dtype="float32").engine.yes  # transformers' own code
    edited(folder / "config.json", model_type="evil")
    assert "code in a checkpoint is not run" in refusal(NotAvailable, folder)
    assert "I was run" not in capsys.readouterr().err


def test_models_of_another_kind_are_refused(copied: Callable[[str], Path]) -> None:
    folder = copied("smolvlm")
    (folder / "config.json").write_text('{"model_type": "bert"}')
    assert "does not go on from pictures and text" in refusal(NotAvailable, folder)


def test_without_a_chat_template_nobody_knows_how_to_ask(copied: Callable[[str], Path]) -> None:
    folder = copied("qwen2_5_vl")
    (folder / "chat_template.jinja").unlink()
    assert "has no chat template" in refusal(BadCheckpoint, folder)
    edited(folder / "tokenizer_config.json", chat_template=tiny_vlm.QWEN_TEMPLATE)
    assert VLM.load(folder, device="cpu", dtype="float32").engine.prompts.template


def test_a_template_without_a_place_for_pictures_is_refused(copied: Callable[[str], Path]) -> None:
    folder = copied("smolvlm")
    (folder / "chat_template.jinja").write_text("{{ messages[0]['content'][-1]['text'] }}")
    judge = VLM.load(folder, device="cpu", dtype="float32")
    with pytest.raises(BadCheckpoint, match="does not take 3 pictures"):
        judge.ask(CLIPS[0], ASKED[:2])


def test_missing_and_broken_files_are_named(copied: Callable[[str], Path], tmp_path: Path) -> None:
    folder = copied("smolvlm")
    (folder / "preprocessor_config.json").write_text("{")
    assert "preprocessor_config.json" in refusal(BadCheckpoint, folder)
    (folder / "processor_config.json").write_text("{")
    assert "processor_config.json: is no JSON" in refusal(BadCheckpoint, folder)
    (folder / "processor_config.json").write_text('{"processor_class": "SmolVLMProcessor"}')
    (folder / "preprocessor_config.json").unlink()
    assert "preprocessor_config.json" in refusal(BadCheckpoint, folder)
    (folder / "config.json").unlink()
    assert "holds no config.json" in refusal(MissingCheckpoint, folder)
    with pytest.raises(MissingCheckpoint):
        VLM.load(tmp_path / "nothing", device="cpu")


def test_a_tokenizer_without_a_yes_is_refused(copied: Callable[[str], Path]) -> None:
    folder = copied("smolvlm")
    path = folder / "tokenizer.json"
    found = json.loads(path.read_text())
    for number, token in enumerate(list(found["model"]["vocab"])):
        if token.strip("\u0120").lower() == "yes":
            found["model"]["vocab"][f"other{number}"] = found["model"]["vocab"].pop(token)
    found["model"]["merges"] = []
    path.write_text(json.dumps(found))
    assert "no token that says yes" in refusal(BadCheckpoint, folder)


def test_a_control_token_in_a_prompt_is_refused(judges: Callable[[str], VLM]) -> None:
    about = Question(id="p", text="Is it [[prompt]]?")
    with pytest.raises(BadArgument, match=r"<image>, which is a control token"):
        judges("smolvlm").ask(CLIPS[0], [about], prompt="an <image> of a wall")


@pytest.mark.skipif(find_spec("torchvision") is not None, reason="torchvision is there")
def test_films_need_torchvision_and_it_is_said(folders: Callable[[str], Path]) -> None:
    said = refusal(NotAvailable, folders("qwen2_5_vl"), media="video")
    assert "needs torchvision" in said and "media='images'" in said


def test_words_after_a_film_stand_where_they_stand_in_a_whole_pass(
    judges: Callable[[str], VLM],
) -> None:
    """The last picture of a slow film lies further on in time than the words behind it."""
    engine = judges("qwen2_5_vl").engine
    ids = engine.prompts.tokenizer.get_vocab()
    film = [ids["<|video_pad|>"]] * 12
    head = [ids["<|im_start|>"], ids["<|vision_start|>"], *film, ids["<|vision_end|>"]]
    inputs = {
        "input_ids": torch.tensor([head]),
        "attention_mask": torch.ones(1, len(head), dtype=torch.long),
        "mm_token_type_ids": torch.tensor([[2 * (number in film) for number in head]]),
        "pixel_values_videos": torch.randn(48, 1176, generator=torch.Generator().manual_seed(0)),
        "video_grid_thw": torch.tensor([[3, 4, 4]]),
        "second_per_grid_ts": torch.tensor([4.0]),
    }
    encoded = Encoded(inputs, [[50, 60, 70], [80, 90], [50, 61, 71, 81]])
    packed = engine.packer.packed(encoded, engine.sides)
    for number, found in enumerate(packed):
        alone = engine.sides(engine.packer.full(encoded.whole(number))[None])[0]
        assert torch.allclose(found, alone, atol=1e-4)


@pytest.mark.parametrize("name", ["qwen2_5_vl", "qwen3_vl", "qwen3_5", "internvl"])
def test_films_are_packed_as_well(name: str, folders: Callable[[str], Path]) -> None:
    pytest.importorskip("torchvision")
    engine = Engine.load(folders(name), device="cpu", dtype="float32", media="video")
    film = Pictures(CLIPS[1].images(), (0, 8, 16, 24), 32, 8.0)
    texts = [question.text for question in ASKED]
    found = engine.read(film, texts)
    assert engine.packs is True, engine.why_not
    alone = [engine.read(film, [text])[0] for text in texts]
    assert [r.logit_yes for r in found] == pytest.approx([r.logit_yes for r in alone], abs=1e-4)
    assert "<|video_pad|>" in engine.prompts.template or name == "internvl"


def test_what_does_not_fit_into_the_memory_is_said(
    judges: Callable[[str], VLM], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A picture of so many patches that attention between them has no room anywhere."""
    engine = judges("qwen2_5_vl").engine
    huge = Pictures([Image.new("RGB", (64, 64))] * 2)

    def no_room(*_: object) -> None:
        torch.empty(2**60)

    handle = engine.packer.model.register_forward_pre_hook(no_room)
    try:
        with pytest.raises(OutOfMemory, match="give fewer frames"):
            engine.read(huge, ["Is it?", "Was it?"])
    finally:
        handle.remove()


def test_half_of_the_questions_at_a_time_when_memory_is_short(judges: Callable[[str], VLM]) -> None:
    engine = judges("smolvlm").engine
    expected = logits(VLM(engine).ask(CLIPS[0], ASKED))
    budget, rows, heads = engine.packer.budget, [], []

    def crowded(_: object, args: object, kwargs: dict[str, Any]) -> None:
        rows.append(len(kwargs["input_ids"]))
        heads.append("pixel_values" in kwargs)
        if rows[-1] > 3:
            torch.empty(2**60)

    handle = engine.packer.model.register_forward_pre_hook(crowded, with_kwargs=True)
    engine.packer.budget = 2000
    try:
        found = logits(VLM(engine).ask(CLIPS[0], ASKED))
    finally:
        handle.remove()
        engine.packer.budget = budget
    assert np.abs(found - expected).max() < 1e-5 and max(rows) > 3
    assert heads.count(True) == 1  # the pictures were not encoded again


# Where it is used -------------------------------------------------------------------------------


def test_a_folder_is_a_judge_for_any_checklist(folders: Callable[[str], Path]) -> None:
    scorer = vqa.load(
        "visionreward-image",
        judge=str(folders("smolvlm")),
        sampler="uniform:2",
        device="cpu",
        dtype="float32",
    )
    good, bad = scorer.score_many([CLIPS[0], b"no video"], "a wall")
    assert good.coverage == 1.0 and bad.status == "error"
    assert good.answer("alignment.vqascore").p_yes is not None
    assert good.warnings == ()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"quantize": "int8"}, "quantize is for cogvlm2"),
        ({"checkpoint": "x"}, "has no use for it"),
        ({"dtype": "int7"}, "dtype must be"),
    ],
)
def test_options_it_has_no_use_for_are_refused(
    options: dict[str, Any], message: str, folders: Callable[[str], Path]
) -> None:
    with pytest.raises(BadArgument, match=message):
        vqa.load("visionreward-video", judge=str(folders("smolvlm")), **options)


def test_a_name_with_a_slash_is_looked_for_on_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(MissingCheckpoint, match="nobody/has-this"):
        vqa.load("visionreward-video", judge="nobody/has-this", device="cpu")
    with pytest.raises(BadArgument, match=r"no judge of that name.*server's address"):
        vqa.load("visionreward-video", judge="nobody")
