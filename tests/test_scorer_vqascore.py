"""VQAScore against its reference, run on a small random checkpoint (data/clip-flant5-tiny)."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub import constants
from PIL import Image
from safetensors.torch import save_file

import vqa
from tests.recipes import DATA, beside, checkpoint, difference, expected, inputs, tensors
from vqa.errors import BadCheckpoint, MissingCheckpoint
from vqa.models.flant5 import FlanT5, tower_config
from vqa.scorer import Scorer
from vqa.scorers.vqascore import LONGEST, VQAScore, load

NAME = "clip-flant5-tiny"
GOLDEN = expected(NAME)
TOLERANCE = GOLDEN["tolerances"]
CASES, IMAGES = GOLDEN["cases"], GOLDEN["images"]
TEXTS = [case["text"] for case in CASES]
MARKER = GOLDEN["image_marker_in_ids"]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def pictures() -> dict[str, Image.Image]:
    samples = inputs(NAME)
    return {image["name"]: Image.fromarray(samples[image["npz_key"]]) for image in IMAGES}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint(NAME, tmp_path_factory.mktemp(NAME))


@pytest.fixture(scope="module")
def scorer(folder: Path) -> Scorer:
    return vqa.load("vqascore", checkpoint=folder, device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def rater(folder: Path) -> VQAScore:
    return _load(folder)


def _load(folder: Path, dtype: torch.dtype = torch.float32) -> VQAScore:
    return load({"vqascore": folder}, device=CPU, dtype=dtype)


def _told(case: dict[str, Any], key: str = "mean_log_probability") -> list[float]:
    return [case["per_image"][image["name"]][key] for image in IMAGES]


def _pairs(pictures: dict[str, Image.Image], texts: Iterable[str]) -> list[tuple[Any, str]]:
    return [(picture, text) for text in texts for picture in pictures.values()]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["text"][:12])
def test_ids_before_and_after_the_picture(rater: VQAScore, case: dict[str, Any]) -> None:
    before, after = rater.question_ids(case["text"])
    assert [*before, MARKER, *after] == case["input_ids_with_image_marker"]
    assert rater.ids(rater.answer) == case["label_ids"]


@pytest.mark.parametrize("image", IMAGES, ids=lambda image: image["name"])
def test_picture_is_bordered_looked_at_and_projected(
    rater: VQAScore, pictures: dict[str, Image.Image], image: dict[str, Any]
) -> None:
    pixels = rater.pixels([pictures[image["name"]]])
    assert difference(pixels, image["pixel_values"]) < TOLERANCE["pixel_values"]
    with torch.inference_mode():
        seen = rater.network.look(pixels)
    assert difference(seen, image["projected_image_features"]) < TOLERANCE["features"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["text"][:12])
def test_log_probability_of_every_picture_and_text(
    rater: VQAScore, pictures: dict[str, Image.Image], case: dict[str, Any]
) -> None:
    pairs = _pairs(pictures, [case["text"]])
    found = [mean for pair in pairs for mean in rater.mean_log_probabilities([pair])]
    assert found == pytest.approx(_told(case), abs=TOLERANCE["mean_log_probability"], rel=0)


def test_score_is_the_geometric_mean_over_word_and_end(
    scorer: Scorer, pictures: dict[str, Image.Image]
) -> None:
    told = CASES[0]["per_image"]["tall"]
    value = scorer.score(pictures["tall"], prompt=TEXTS[0]).value
    assert value == pytest.approx(told["score"], rel=TOLERANCE["score_relative"])
    assert value == pytest.approx(
        math.prod(told["answer_token_probabilities"]) ** 0.5, rel=TOLERANCE["score_relative"]
    )


def test_batch_of_texts_and_pictures_gives_what_single_ones_give(
    rater: VQAScore, pictures: dict[str, Image.Image]
) -> None:
    together = rater.mean_log_probabilities(_pairs(pictures, TEXTS))
    told = [mean for case in CASES for mean in _told(case)]
    assert together == pytest.approx(told, abs=TOLERANCE["mean_log_probability"], rel=0)
    batch = GOLDEN["batched_call"]
    found = rater.rate_images([(pictures[batch["image"]], text) for text in batch["texts"]])
    assert found == pytest.approx(batch["scores"], rel=TOLERANCE["score_relative"])


@pytest.mark.parametrize("answer", GOLDEN["other_answer_templates"]["by_template"])
def test_other_answers(rater: VQAScore, pictures: dict[str, Image.Image], answer: str) -> None:
    golden = GOLDEN["other_answer_templates"]
    told = golden["by_template"][answer]
    other = _with(rater, answer=answer)
    assert other.ids(answer.replace("{}", golden["text"])) == told["label_ids"]
    found = other.rate_images([(pictures[golden["image"]], golden["text"])])
    assert found == pytest.approx([told["score"]], rel=TOLERANCE["score_relative"])


def test_answers_of_unequal_length_share_a_batch(
    rater: VQAScore, pictures: dict[str, Image.Image]
) -> None:
    other = _with(rater, answer="It shows {}")
    pairs = _pairs(pictures, TEXTS)
    alone = [mean for pair in pairs for mean in other.mean_log_probabilities([pair])]
    together = other.mean_log_probabilities(pairs)
    assert together == pytest.approx(alone, abs=TOLERANCE["mean_log_probability"], rel=0)


def _with(rater: VQAScore, *, answer: str) -> VQAScore:
    return VQAScore(
        rater.network, rater.tokenizer, rater.image_size, rater.device, rater.dtype, answer=answer
    )


@pytest.mark.parametrize(
    ("dtype", "outer"), [(torch.bfloat16, torch.bfloat16), (torch.float16, torch.float32)]
)
def test_half_precision_is_near(
    folder: Path, pictures: dict[str, Image.Image], dtype: torch.dtype, outer: torch.dtype
) -> None:
    rater = _load(folder, dtype)
    kinds = {weight.dtype for name, weight in rater.network.named_parameters() if ".wo." in name}
    assert (rater.network.shared.weight.dtype, kinds) == (dtype, {outer})
    found = rater.mean_log_probabilities(_pairs(pictures, TEXTS))
    told = [mean for case in CASES for mean in _told(case)]
    # The reference itself moves by 0.2 in bfloat16.
    assert found == pytest.approx(told, abs=0.08, rel=0)
    assert found != pytest.approx(told, abs=TOLERANCE["mean_log_probability"], rel=0)


def test_rows_beyond_the_tokenizer_are_cut_off(rater: VQAScore) -> None:
    assert rater.network.shared.weight.shape == (GOLDEN["tokenizer_length"], 48)
    assert rater.network.lm_head.weight.shape == (GOLDEN["tokenizer_length"], 48)
    assert not torch.equal(rater.network.shared.weight, rater.network.lm_head.weight)


def test_long_text_is_cut_where_the_released_code_cuts(rater: VQAScore) -> None:
    before, after = rater.question_ids("a red car " * 1000)
    assert len(before) + 1 + len(after) == LONGEST == 2048


def test_braces_and_image_markers_in_a_text_are_text(
    rater: VQAScore, pictures: dict[str, Image.Image]
) -> None:
    odd = "{0} {} <image> {name}"
    _, after = rater.question_ids(odd)
    assert after == rater.ids(
        f'\nDoes this figure show "{odd}"? Please answer yes or no. ASSISTANT: '
    )
    (found,) = rater.rate_images([(pictures["wide"], odd)])
    assert 0 < found < 1


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "I;16", "1"])
def test_modes_become_rgb_first(rater: VQAScore, mode: str) -> None:
    gray = Image.fromarray(np.full((30, 50), 255, np.uint8))
    deep = Image.fromarray(np.full((30, 50), 65535, np.uint16))
    picture = deep if mode == "I;16" else gray.convert(mode)
    assert picture.mode == mode
    assert torch.equal(rater.pixels([picture]), rater.pixels([gray.convert("RGB")]))


def test_pickle_scores_as_safetensors_do(
    rater: VQAScore, pictures: dict[str, Image.Image], tmp_path: Path
) -> None:
    """In two parts, as large ones are published, with the aliases that a state dict holds."""
    state = tensors(DATA / NAME)
    aliases = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "embed_tokens.weight")
    state |= dict.fromkeys(aliases, state["shared.weight"])
    names = list(state)
    files = [f"pytorch_model-0000{n}-of-00002.bin" for n in (1, 2)]
    for number, file in enumerate(files):
        torch.save({name: state[name] for name in names[number::2]}, tmp_path / file)
    index = {name: files[number % 2] for number, name in enumerate(names)}
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": index}))
    beside(NAME, tmp_path)
    pairs = _pairs(pictures, TEXTS[:1])
    assert _load(tmp_path).rate_images(pairs) == rater.rate_images(pairs)
    (tmp_path / files[1]).unlink()
    with pytest.raises(BadCheckpoint, match=rf"1 of 2 files missing \({files[1]}\)"):
        _load(tmp_path)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("lm_head.weight", r"1 missing \(lm_head\.weight\)"),
        ("mm_projector.2.bias", r"1 missing \(projector\.2\.bias\)"),
        ("decoder.block.1.layer.1.EncDecAttention.k.weight", "1 missing"),
    ],
)
def test_missing_tensor_is_named(tmp_path: Path, name: str, words: str) -> None:
    state = tensors(DATA / NAME)
    del state[name]
    save_file(state, beside(NAME, tmp_path) / "model.safetensors")
    with pytest.raises(BadCheckpoint, match=words):
        _load(tmp_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"d_ff": None}, r"config\.json: lacks d_ff; is it a CLIP-FlanT5\?"),
        ({"mm_projector_type": "linear"}, "mm_projector_type 'linear' is not known"),
        ({"d_ff": "wide"}, "the sizes in its configs make no network"),
        ({"d_ff": 97}, "of another shape"),
        ({"num_layers": 3}, "missing"),
    ],
)
def test_config_that_does_not_fit_is_refused(
    folder: Path, tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    said = json.loads((folder / "config.json").read_text()) | change
    said = {key: value for key, value in said.items() if value is not None}
    (tmp_path / "config.json").write_text(json.dumps(said))
    with pytest.raises(BadCheckpoint, match=words):
        _load(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"dense_act_fn": "relu"},
        {"layer_norm_epsilon": 0.1},
        {"relative_attention_max_distance": 20},
        {"mm_vision_select_layer": -1},
        {"mm_vision_select_feature": "cls_patch"},
        {"decoder_start_token_id": 2},
        {"tie_word_embeddings": True},
    ],
)
def test_what_the_config_says_is_done(
    folder: Path,
    rater: VQAScore,
    pictures: dict[str, Image.Image],
    tmp_path: Path,
    change: dict[str, Any],
) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    said = json.loads((folder / "config.json").read_text()) | change
    (tmp_path / "config.json").write_text(json.dumps(said))
    pair = [(pictures["wide"], TEXTS[0])]
    found, due = (one.mean_log_probabilities(pair) for one in (_load(tmp_path), rater))
    assert found != pytest.approx(due, abs=1e-3)


def test_tower_config_and_tokenizer_come_from_where_they_are_published(
    folder: Path,
    rater: VQAScore,
    pictures: dict[str, Image.Image],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = tmp_path / "published"
    shutil.copytree(folder, own)
    tower = json.loads((own / "vision_tower" / "config.json").read_text())
    tokenizer = (own / "tokenizer.json").read_bytes()
    shutil.rmtree(own / "vision_tower")
    (own / "tokenizer.json").unlink()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    wanted = r"vision_tower/config\.json: missing; it is config\.json of openai/clip-vit-large-"
    with pytest.raises(MissingCheckpoint, match=wanted):
        _load(own)
    whole = json.dumps({"model_type": "clip", "vision_config": tower})  # as the hub has it
    clip = "models--openai--clip-vit-large-patch14-336"
    _cached(tmp_path / "cache" / clip, "config.json", whole.encode())
    wanted = r"tokenizer\.json: missing; it is tokenizer\.json of google/flan-t5-xxl: .*OFFLINE"
    with pytest.raises(MissingCheckpoint, match=wanted):
        _load(own)
    _cached(tmp_path / "cache" / "models--google--flan-t5-xxl", "tokenizer.json", tokenizer)
    pairs = _pairs(pictures, TEXTS[:1])
    assert _load(own).rate_images(pairs) == rater.rate_images(pairs)


def _cached(repo: Path, name: str, content: bytes) -> None:
    """Put a file where the hub's library keeps it."""
    for place in ("snapshots/abc", "refs"):
        (repo / place).mkdir(parents=True)
    (repo / "refs" / "main").write_text("abc")
    (repo / "snapshots" / "abc" / name).write_bytes(content)


def test_published_sizes_weigh_what_is_published() -> None:
    said = {
        "d_model": 4096,
        "d_kv": 64,
        "d_ff": 10240,
        "num_layers": 24,
        "num_heads": 64,
        "feed_forward_proj": "gated-gelu",
    }
    tower = tower_config(
        {
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "image_size": 336,
            "patch_size": 14,
        }
    )
    with torch.device("meta"):
        network = FlanT5(said, tower, vocabulary=32100)
    count = sum(weight.numel() for weight in network.parameters())
    assert 2 * count / 1e9 == pytest.approx(23, abs=0.1)  # GB of bfloat16
