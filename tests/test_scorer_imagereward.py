"""ImageReward against its reference, run on a small random checkpoint (data/imagereward-tiny)."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub import constants
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import vqa
from tests.recipes import DATA, beside, checkpoint, difference, expected, inputs, tensors
from vqa.errors import BadCheckpoint, MissingCheckpoint, MissingPrompt
from vqa.scorer import Scorer
from vqa.scorers.imagereward import ImageReward, Network, Sizes, load

NAME = "imagereward-tiny"
GOLDEN = expected(NAME)
TOLERANCE = GOLDEN["tolerances"]
CASES, IMAGES = GOLDEN["cases"], GOLDEN["images"]
PROMPT = CASES[0]["prompt"]
CPU = torch.device("cpu")
KEY = "text.encoder.layer.0.crossattention.self.key.weight"


def _pictures() -> list[Image.Image]:
    """The pictures of the fixture, each in its own mode."""
    samples = inputs(NAME)
    found = [Image.fromarray(samples[image["npz_key"]]) for image in IMAGES]
    for number, image in enumerate(IMAGES):
        if image["mode"] == "P":
            found[number] = Image.frombytes("P", found[number].size, found[number].tobytes())
            found[number].putpalette(samples[f"{image['npz_key']}_palette"].tobytes())
    return found


@pytest.fixture(scope="module")
def pictures() -> list[Image.Image]:
    found = _pictures()
    assert [picture.mode for picture in found] == [image["mode"] for image in IMAGES]
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As published: a pickle, with the buffer of integers that older files hold."""
    found = beside(NAME, tmp_path_factory.mktemp(NAME))
    positions = {"blip.text_encoder.embeddings.position_ids": torch.arange(512)[None]}
    torch.save(tensors(DATA / NAME) | positions, found / "ImageReward.pt")
    return found


@pytest.fixture(scope="module")
def scorer(folder: Path) -> Scorer:
    return vqa.load("imagereward", checkpoint=folder, device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def rater(folder: Path) -> ImageReward:
    return _load(folder)


def _load(folder: Path) -> ImageReward:
    return load({"imagereward": folder}, device=CPU, dtype=torch.float32)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["prompt"][:12])
def test_ids_are_those_of_bert_padded_and_cut_to_35(
    rater: ImageReward, case: dict[str, Any]
) -> None:
    found = rater.tokenizer.encode(case["prompt"])
    assert (found.ids, found.attention_mask) == (case["input_ids"], case["attention_mask"])


@pytest.mark.parametrize("number", range(len(IMAGES)), ids=lambda n: IMAGES[n]["name"])
def test_pixels_of_every_mode(rater: ImageReward, pictures: list[Image.Image], number: int) -> None:
    found, told = rater.pixels([pictures[number]])[0], IMAGES[number]
    assert difference(found, told["pixel_values"]) < TOLERANCE["pixel_values"]
    inner = torch.tensor(told["pixel_at_y100_x60"])
    torch.testing.assert_close(found[:, 100, 60], inner, atol=TOLERANCE["pixel_values"], rtol=0)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["prompt"][:12])
def test_rewards_of_single_pictures_and_of_a_batch(
    rater: ImageReward, pictures: list[Image.Image], case: dict[str, Any]
) -> None:
    pairs = [(picture, case["prompt"]) for picture in pictures]
    alone = [value for pair in pairs for value in rater.rate_images([pair])]
    together = rater.rate_images(pairs)
    due = [image["reward"] for image in case["images"]]
    assert alone == pytest.approx(due, abs=TOLERANCE["reward"])
    assert together == pytest.approx(alone, abs=TOLERANCE["reward"])
    assert together == pytest.approx(case["inference_rank_rewards"], abs=TOLERANCE["reward"])


@pytest.mark.parametrize("number", range(len(IMAGES)), ids=lambda n: IMAGES[n]["name"])
def test_picture_and_its_file_score_alike(
    scorer: Scorer, pictures: list[Image.Image], tmp_path: Path, number: int
) -> None:
    file = tmp_path / "picture.png"
    pictures[number].save(file)
    due = CASES[0]["images"][number]["reward"]
    for source in (pictures[number], file):
        score = scorer.score(source, prompt=PROMPT)
        assert score.value == pytest.approx(due, abs=TOLERANCE["reward"])


def test_batch_may_mix_prompts(rater: ImageReward, pictures: list[Image.Image]) -> None:
    pairs = [(picture, case["prompt"]) for picture, case in zip(pictures, CASES, strict=False)]
    due = [case["images"][number]["reward"] for number, case in enumerate(CASES)]
    assert rater.rate_images(pairs) == pytest.approx(due, abs=TOLERANCE["reward"])


def test_rank_is_the_released_ranking(scorer: Scorer, pictures: list[Image.Image]) -> None:
    case = CASES[2]
    ranked = scorer.rank(case["prompt"], pictures)
    places = {score.position: place for place, score in enumerate(ranked, start=1)}
    assert [places[n] for n in range(len(pictures))] == case["inference_rank_ranking"]


def test_prompt_must_be_given_and_may_be_empty(scorer: Scorer, pictures: list[Image.Image]) -> None:
    with pytest.raises(MissingPrompt, match="imagereward: compares a clip with its prompt"):
        scorer.score(pictures[0])
    assert scorer.score(pictures[0], prompt="").prompt == ""


def test_head_of_zeros_gives_the_sentinel(folder: Path, pictures: list[Image.Image]) -> None:
    rater = _load(folder)
    for weight in rater.network.head.parameters():
        weight.zero_()
    assert rater.rate_images([(pictures[0], PROMPT)]) == pytest.approx([-0.16178], abs=1e-6)


def test_safetensors_score_as_the_pickle_does(
    rater: ImageReward, pictures: list[Image.Image], tmp_path: Path
) -> None:
    pairs = [(picture, PROMPT) for picture in pictures[:2]]
    assert _load(checkpoint(NAME, tmp_path)).rate_images(pairs) == rater.rate_images(pairs)


def test_text_looks_at_as_many_channels_as_the_picture_has(rater: ImageReward) -> None:
    key = rater.network.get_parameter(KEY)
    assert key.shape == (48, 64)  # med_config.json says 48


def test_sixteen_bits_of_gray_are_scaled(rater: ImageReward) -> None:
    gray = np.arange(0, 65536, 16, dtype=np.uint16).reshape(64, 64)
    deep, flat = (rater.pixels([Image.fromarray(x)]) for x in (gray, (gray // 257).astype("u1")))
    assert float((deep - flat).abs().max()) < 0.02  # a grey level; cut off at 255 it is 3 or so


@settings(max_examples=20, deadline=None)
@given(
    width=st.integers(8, 300),
    height=st.integers(8, 300),
    mode=st.sampled_from(["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "F"]),
)
def test_any_size_and_mode_becomes_the_square(
    rater: ImageReward, width: int, height: int, mode: str
) -> None:
    found = rater.pixels([Image.new(mode, (width, height))])
    assert found.shape == (1, 3, 224, 224) and bool(found.isfinite().all())


def test_without_config_the_sizes_are_the_published_ones(folder: Path, tmp_path: Path) -> None:
    sizes = Sizes.read(tmp_path)
    med = {
        "vocab_size": 30524,
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "max_position_embeddings": 512,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-12,
        "pad_token_id": 0,
    }
    with torch.device("meta"):
        network = Network(sizes.vision, sizes.text(med), sizes.mlp_sizes)
    # 1.79 GB of float32 on disk, less two projections to 256 that are not used.
    unused = 256 * (1024 + 1) + 256 * (768 + 1)
    count = sum(weight.numel() for weight in network.parameters())
    assert 4 * (count + unused) / 1e9 == pytest.approx(1.79, abs=0.01)
    assert network.get_parameter(KEY).shape == (768, 1024)
    assert _widths(network) == [768, 1024, 128, 64, 16]
    assert (sizes.vision.patch_size, sizes.vision.image_size) == (16, 224)
    assert (sizes.vision.num_hidden_layers, sizes.vision.num_attention_heads) == (24, 16)
    assert (sizes.vision.layer_norm_eps, sizes.max_text_length) == (1e-6, 35)
    assert (sizes.reward_mean, sizes.reward_std) == (GOLDEN["reward_mean"], GOLDEN["reward_std"])


def test_wrong_tensors_are_listed(folder: Path, tmp_path: Path) -> None:
    broken = beside(NAME, tmp_path)
    state = tensors(DATA / NAME)
    del state["blip.visual_encoder.blocks.1.norm2.bias"]
    state["mlp.layers.5.weight"] = torch.zeros(1)
    state["blip.text_encoder.embeddings.LayerNorm.weight"] = torch.zeros(7)
    torch.save(state, broken / "ImageReward.pt")
    with pytest.raises(BadCheckpoint) as refused:
        _load(broken)
    for told in (
        "1 missing (vision.encoder.layers.1.layer_norm2.bias)",
        "1 unexpected (mlp.layers.5.weight)",
        "1 of another shape (text.embeddings.LayerNorm.weight: [7] instead of [48])",
    ):
        assert told in str(refused.value)


def test_missing_config_says_where_it_is_published(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    (tmp_path / "med_config.json").unlink()
    with pytest.raises(BadCheckpoint, match=r"med_config\.json is missing; .* THUDM/ImageReward"):
        _load(tmp_path)


@pytest.mark.parametrize(
    ("file", "change", "words"),
    [
        ("med_config.json", {"hidden_size": None}, r"med_config\.json: lacks hidden_size; it is"),
        ("med_config.json", {"hidden_size": "wide"}, "the sizes in its configs make no network"),
        ("config.json", {"vision_heads": 5}, "make no network .*divisible"),
        ("config.json", {"vision_layers": 4}, "12 missing"),
    ],
)
def test_config_that_does_not_fit_is_refused(
    folder: Path, tmp_path: Path, file: str, change: dict[str, Any], words: str
) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    said = json.loads((folder / file).read_text()) | change
    said = {key: value for key, value in said.items() if value is not None}
    (tmp_path / file).write_text(json.dumps(said))
    with pytest.raises(BadCheckpoint, match=words):
        _load(tmp_path)


def test_vocabulary_comes_from_bert_where_the_folder_has_none(
    folder: Path, rater: ImageReward, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(folder, tmp_path / "published")
    own = (tmp_path / "published" / "vocab.txt").rename(tmp_path / "vocab.txt")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    wanted = r"vocab\.txt: missing; it is vocab\.txt of google-bert/bert-base-uncased: .*OFFLINE"
    with pytest.raises(MissingCheckpoint, match=wanted):
        _load(tmp_path / "published")
    repo = tmp_path / "cache" / "models--google-bert--bert-base-uncased"
    (repo / "snapshots" / "abc").mkdir(parents=True)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text("abc")
    own.rename(repo / "snapshots" / "abc" / "vocab.txt")
    found = _load(tmp_path / "published").tokenizer
    assert found.encode(PROMPT).ids == rater.tokenizer.encode(PROMPT).ids


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda words: [*words, "extra"], "makes 143 tokens, the network has 142; take vocab.txt"),
        (lambda words: [w for w in words if w != "[SEP]"], r"lacks \[SEP\]; is it BERT's"),
    ],
)
def test_vocabulary_of_another_model_is_refused(
    folder: Path, tmp_path: Path, change: Any, words: str
) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    file = tmp_path / "vocab.txt"
    file.write_text("\n".join(change(file.read_text().splitlines())) + "\n")
    with pytest.raises(BadCheckpoint, match=words):
        _load(tmp_path)


def test_nothing_stands_between_the_layers_of_the_head(rater: ImageReward) -> None:
    assert _widths(rater.network) == [48, 1024, 128, 64, 16]
    assert {type(layer) for layer in rater.network.head} == {torch.nn.Linear}


def _widths(network: Network) -> list[int]:
    return [weight.shape[1] for weight in network.head.parameters() if weight.ndim == 2]
