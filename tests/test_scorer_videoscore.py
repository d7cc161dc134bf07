"""VideoScore against the reference: ids, pixels, positions, features, scores; bad folders."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file, save_file

import vqa
from tests.recipes import checkpoint, expected, inputs
from vqa.errors import BadArgument, BadCheckpoint, MissingPrompt
from vqa.models.idefics2 import (
    Idefics2Regression,
    Patches,
    buckets,
    empty_network,
    fill_network,
    network_config,
)
from vqa.models.videoscore_prompt import ASPECTS, regression_prompt
from vqa.sample import Strided
from vqa.scorers.base import NetworkScorer
from vqa.scorers.videoscore import Pictures, VideoScore

NAME = "videoscore-tiny"
SAID = expected(NAME)
CASES = SAID["cases"]
FRAMES = inputs(NAME)
REAL = Pictures(
    longest=980,
    shortest=378,
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
    scale=1 / 255,
    resample=Image.Resampling.BILINEAR,
)
pytestmark = pytest.mark.usefixtures("one_thread")
each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint(NAME, tmp_path_factory.mktemp(NAME))


def _load(folder: Path, name: str = "videoscore", dtype: str = "float32") -> NetworkScorer:
    scorer = vqa.load(name, checkpoint=folder, device="cpu", dtype=dtype)
    assert isinstance(scorer, NetworkScorer)
    return scorer


@pytest.fixture(scope="module")
def scorer(folder: Path) -> NetworkScorer:
    return _load(folder)


@pytest.fixture(scope="module")
def rater(scorer: NetworkScorer) -> VideoScore:
    assert isinstance(scorer.rater, VideoScore)
    return scorer.rater


@pytest.fixture
def broken(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "broken"))


def _frames(case: dict[str, Any]) -> npt.NDArray[np.uint8]:
    return FRAMES[case["frames_npz_key"]]


def _images(frames: npt.NDArray[np.uint8]) -> list[Image.Image]:
    return [Image.fromarray(frame) for frame in frames]


def _agrees(found: torch.Tensor, said: dict[str, Any], within: float) -> None:
    values = found.double().flatten()
    assert list(found.shape) == said["shape"]
    assert values.mean().item() == pytest.approx(said["mean"], abs=within)
    assert values.std(correction=0).item() == pytest.approx(said["std"], abs=within)
    assert values.norm().item() == pytest.approx(said["l2"], rel=within)
    assert values[:8].tolist() == pytest.approx(said["first8"], abs=within)
    assert values[-8:].tolist() == pytest.approx(said["last8"], abs=within)


@each_case
def test_scores_are_those_of_the_reference(scorer: NetworkScorer, case: dict[str, Any]) -> None:
    score = scorer.score(_frames(case), prompt=case["text_prompt"])
    assert list(score.dimensions.values()) == pytest.approx(case["logits"], abs=1e-4)
    assert score.value == pytest.approx(fmean(case["logits"]), abs=1e-4)


def test_the_aspects_have_the_names_of_the_labels_in_their_order() -> None:
    named = [label.replace(" ", "_").replace("-", "_") for label in SAID["label_order"]]
    assert list(ASPECTS) == named


@each_case
def test_ids_are_those_of_the_reference(rater: VideoScore, case: dict[str, Any]) -> None:
    frames = len(_frames(case))
    text = regression_prompt(case["text_prompt"]) + "<image> " * frames
    assert text == case["full_prompt"]
    assert rater.texts.ids(case["text_prompt"], frames=frames) == case["input_ids"]


@each_case
def test_pixels_are_those_of_the_reference(rater: VideoScore, case: dict[str, Any]) -> None:
    pixels = rater.pictures.pixels(_images(_frames(case)))
    _agrees(pixels[None], case["pixel_values"], 1e-6)
    channels = pixels[0].double().mean(dim=(1, 2)).tolist()
    assert channels == pytest.approx(case["pixel_values_frame0_mean_per_channel"], abs=1e-6)
    last = pixels[-1].flatten()[:8].tolist()
    assert last == pytest.approx(case["pixel_values_last_frame_first8"], abs=1e-6)


@pytest.mark.parametrize("case", SAID["real_preprocessor_pixel_cases"], ids=lambda c: c["name"])
def test_pixels_at_the_published_sizes(case: dict[str, Any]) -> None:
    pixels = REAL.pixels([Image.fromarray(FRAMES[case["frames_npz_key"]])])
    assert list(pixels.shape[2:]) == case["output_hw"]
    _agrees(pixels[None], case["pixel_values"], 1e-6)
    assert pixels[0, :, 100, 100].tolist() == pytest.approx(case["pixel_at_y100_x100"], abs=1e-6)


@pytest.mark.parametrize("row", SAID["resize_table_real_378_980"]["rows"], ids=str)
def test_sizes_are_those_of_the_reference(row: list[int]) -> None:
    height, width, out_height, out_width = row
    assert REAL.size(width, height) == (out_width, out_height)


@given(st.integers(1, 5000), st.integers(1, 5000))
def test_every_side_ends_between_the_shortest_and_the_longest(width: int, height: int) -> None:
    across, down = REAL.size(width, height)
    assert 378 <= across <= 980 and 378 <= down <= 980
    assert REAL.size(across, down) == (across, down)


def test_transparent_pictures_are_put_on_white() -> None:
    clear = Image.new("RGBA", (400, 400), (0, 0, 0, 0))
    assert set(REAL.pixels([clear]).flatten().tolist()) == {1.0}


@pytest.mark.parametrize(
    "count", SAID["position_bucket_index_along_one_axis_real_70"]["by_number_of_patches"]
)
def test_positions_are_those_of_the_reference(count: str) -> None:
    said = SAID["position_bucket_index_along_one_axis_real_70"]["by_number_of_patches"]
    assert buckets(int(count), 70).tolist() == said[count]


@given(st.integers(1, 100), st.integers(2, 100))
def test_positions_are_the_whole_part_of_the_exact_fraction_or_one_less(
    count: int, positions: int
) -> None:
    found = buckets(count, positions).tolist()
    exact = [i * positions // count for i in range(count)]
    ties = [i * positions % count == 0 for i in range(count)]
    off = [there - here for here, there in zip(found, exact, strict=True)]
    assert found[0] == 0 and set(off) <= {0, 1}
    assert all(tie for tie, by in zip(ties, off, strict=True) if by)


@pytest.mark.parametrize("rows, columns", [(49, 58), (27, 45)])
def test_each_patch_gets_the_position_of_its_row_and_column(rows: int, columns: int) -> None:
    table = SAID["position_bucket_index_along_one_axis_real_70"]["by_number_of_patches"]
    config = SimpleNamespace(hidden_size=1, patch_size=14, image_size=980, num_channels=3)
    patches = Patches(config)
    with torch.no_grad():
        patches.patch_embedding.weight.zero_()
        patches.patch_embedding.bias.zero_()  # type: ignore[union-attr]
        patches.position_embedding.weight.copy_(torch.arange(4900.0)[:, None])
        # What is left at the ends of the sides is too little for a patch.
        found = patches(torch.zeros(2, 3, rows * 14 + 13, columns * 14 + 1))
    wanted = [70 * row + column for row in table[str(rows)] for column in table[str(columns)]]
    assert found[..., 0].tolist() == [wanted, wanted]


@each_case
def test_features_are_those_of_the_reference(rater: VideoScore, case: dict[str, Any]) -> None:
    assert isinstance(rater.network.model.vision_model.embeddings, Patches)
    with torch.inference_mode():
        pixels = rater.pictures.pixels(_images(_frames(case)))
        seen = rater.network.model.vision_model(pixel_values=pixels).last_hidden_state
        _agrees(seen, case["vision_last_hidden_state"], 2e-4)
        _agrees(rater.network.see(pixels), case["connector_out"], 2e-4)


def test_more_frames_than_go_through_the_tower_at_once(
    rater: VideoScore, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = CASES[2]
    pixels = rater.pictures.pixels(_images(_frames(case)))
    monkeypatch.setattr("vqa.models.idefics2.PICTURES_AT_ONCE", 2)
    with torch.inference_mode():
        numbers = rater.network(pixels, torch.tensor(case["input_ids"]))
    assert numbers.tolist() == pytest.approx(case["logits"], abs=1e-4)


def test_bfloat16_keeps_the_rotary_frequencies_in_float32(folder: Path) -> None:
    scorer = _load(folder, dtype="bfloat16")
    assert isinstance(scorer.rater, VideoScore)
    text = scorer.rater.network.model.text_model
    assert text.embed_tokens.weight.dtype == torch.bfloat16
    wanted = [10000 ** (-i / 8) for i in range(0, 8, 2)]
    assert text.rotary_emb.inv_freq.dtype == torch.float32
    assert text.rotary_emb.inv_freq.tolist() == pytest.approx(wanted, rel=1e-6)
    case = CASES[0]
    score = scorer.score(_frames(case), prompt=case["text_prompt"])
    found = list(score.dimensions.values())
    assert found == pytest.approx(case["info_bfloat16_cpu_logits"], abs=0.1)
    assert found != pytest.approx(case["logits"], abs=1e-4)


def test_sixteen_frames_of_a_longer_clip_are_seen(scorer: NetworkScorer) -> None:
    moving = np.random.default_rng(3).integers(0, 255, (40, 32, 40, 3), np.uint8)
    chosen = [int(i * 40 / 16) for i in range(16)]
    score = scorer.score(moving, prompt="noise")
    assert score.sampled["indices"] == chosen
    alone = scorer.score(moving[chosen], prompt="noise")
    assert score.value == alone.value and score.dimensions == alone.dimensions


def test_v1_1_sees_forty_eight_frames_which_fit_the_window(folder: Path, rater: VideoScore) -> None:
    scorer = _load(folder, "videoscore-v1.1")
    assert scorer.sampler == Strided(48)
    score = scorer.score(np.zeros((60, 20, 20, 3), np.uint8), prompt="nothing")
    assert len(score.sampled["indices"]) == 48 and score.value is not None
    published = type(rater.texts)(rater.texts.tokenizer, 1, tokens_per_picture=64)
    assert len(published.ids("a prompt " * 20, frames=48)) < 4096


def test_a_batch_is_rated_as_its_clips_alone_and_a_broken_one_costs_one_row(
    scorer: NetworkScorer, tmp_path: Path
) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    sources = [_frames(CASES[0]), tmp_path / "broken.mp4", _frames(CASES[3])]
    prompts = [CASES[0]["text_prompt"], "p", CASES[3]["text_prompt"]]
    first, broken, last = scorer.score_many(sources, prompts)
    assert (first.status, broken.status, last.status) == ("ok", "error", "ok")
    assert list(first.dimensions.values()) == pytest.approx(CASES[0]["logits"], abs=1e-4)
    assert list(last.dimensions.values()) == pytest.approx(CASES[3]["logits"], abs=1e-4)


def test_a_prompt_is_needed_and_may_be_empty(scorer: NetworkScorer) -> None:
    assert CASES[3]["text_prompt"] == ""  # its scores are compared above
    with pytest.raises(MissingPrompt, match="give the prompt"):
        scorer.score(_frames(CASES[3]))


def test_a_prompt_that_marks_a_frame_is_refused(scorer: NetworkScorer) -> None:
    with pytest.raises(BadArgument, match="<image> stands for a frame"):
        scorer.score(_frames(CASES[3]), prompt="an <image> of a cat")


def test_a_text_beyond_the_last_position_is_refused(broken: Path) -> None:
    def change(config: dict[str, Any]) -> None:
        config["text_config"].update(max_position_embeddings=392)

    _edit(broken, "config.json", change)
    with pytest.raises(BadArgument, match="are 393 tokens, the network takes 392; choose fewer"):
        _load(broken).score(_frames(CASES[3]), prompt="")


def test_pictures_and_image_tokens_must_agree(rater: VideoScore) -> None:
    pixels = rater.pictures.pixels(_images(_frames(CASES[0]))[:3])
    with pytest.raises(BadArgument, match="3 pictures are 24 image tokens, the text has 32"):
        rater.network(pixels, torch.tensor(CASES[0]["input_ids"]))


def test_a_pickle_is_as_good_as_safetensors(tmp_path: Path) -> None:
    scorer = _load(checkpoint(NAME, tmp_path, pickled="pytorch_model.bin"))
    score = scorer.score(_frames(CASES[3]), prompt="")
    assert list(score.dimensions.values()) == pytest.approx(CASES[3]["logits"], abs=1e-4)


def test_where_padding_has_an_id_the_token_before_it_is_read(broken: Path) -> None:
    _edit(broken, "config.json", lambda config: config.update(pad_token_id=0))
    network = empty_network(broken, outputs=5)
    assert network.last(torch.tensor([1, 7, 9, 0, 0])) == 2
    assert network.last(torch.tensor([1, 7, 9])) == -1


def test_sizes_and_frequencies_come_from_the_config(broken: Path) -> None:
    def change(config: dict[str, Any]) -> None:
        config["text_config"].update(rope_theta=500.0, rms_norm_eps=1e-3)

    _edit(broken, "config.json", change)
    network = empty_network(broken, outputs=5)
    fill_network(network, broken, device=torch.device("cpu"), dtype=torch.float32)
    wanted = [500 ** (-i / 8) for i in range(0, 8, 2)]
    assert network.model.text_model.rotary_emb.inv_freq.tolist() == pytest.approx(wanted, rel=1e-6)
    assert network.model.connector.perceiver_resampler.norm.variance_epsilon == 1e-3


def test_the_network_of_the_published_config_has_its_size() -> None:
    """Idefics2-8b as published: what its parts leave out are the library's defaults of 2024."""
    tower = dict(hidden_size=1152, intermediate_size=4304, num_attention_heads=16)
    config = {
        "text_config": {"model_type": "mistral", "vocab_size": 32003},
        "perceiver_config": {"model_type": "idefics2"},
        "vision_config": tower
        | {"model_type": "idefics2", "image_size": 980, "num_hidden_layers": 27, "patch_size": 14},
    }
    with torch.device("meta"):
        network = Idefics2Regression(network_config(config), outputs=5)
    assert sum(value.numel() for value in network.parameters()) == 8_271_704_309
    assert network.model.connector.perceiver_resampler.norm.variance_epsilon == 1e-5
    assert (network.tokens_per_picture, network.image_id) == (64, 32001)


def _edit(folder: Path, name: str, change: Callable[[Any], object]) -> None:
    found = json.loads((folder / name).read_text())
    change(found)
    (folder / name).write_text(json.dumps(found))


def _edit_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    state = load_file(folder / "model.safetensors")
    change(state)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


def test_tensors_that_do_not_fit_are_listed(broken: Path) -> None:
    def change(state: dict[str, torch.Tensor]) -> None:
        del state["score.bias"]
        state["score.weight"] = torch.zeros(3, 48)
        state["lm_head.weight"] = torch.zeros(525, 48)

    _edit_weights(broken, change)
    with pytest.raises(BadCheckpoint) as caught:
        _load(broken)
    told = str(caught.value)
    assert "1 missing (score.bias)" in told
    assert "1 unexpected (lm_head.weight)" in told
    assert "score.weight: [3, 48] instead of [5, 48]" in told


def test_old_buffers_of_position_ids_are_ignored(broken: Path) -> None:
    name = "model.vision_model.embeddings.position_ids"
    _edit_weights(broken, lambda state: state.update({name: torch.arange(49)}))
    _load(broken)


@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json", "tokenizer.json"])
def test_a_missing_file_is_named_with_its_source(broken: Path, name: str) -> None:
    (broken / name).unlink()
    with pytest.raises(BadCheckpoint, match=rf"{name} is missing; .*TIGER-Lab/VideoScore"):
        _load(broken)


BAD_FILES: dict[str, tuple[str, Callable[[Any], object], str]] = {
    "a base model that splits pictures": (
        "preprocessor_config.json",
        lambda found: found.update(do_image_splitting=True),
        "splits pictures into parts",
    ),
    "no size": (
        "preprocessor_config.json",
        lambda found: found.update(size={"height": 224, "width": 224}),
        "no value to use for 'longest_edge'",
    ),
    "another tokenizer": (
        "config.json",
        lambda found: found.update(image_token_id=32001),
        "are of two models",
    ),
    "no tokenizer": ("tokenizer.json", lambda found: found.clear(), "is no tokenizer"),
    "another network": (
        "config.json",
        lambda found: found.pop("vision_config"),
        "does not describe an Idefics2",
    ),
    "impossible sizes": (
        "config.json",
        lambda found: found["vision_config"].update(num_attention_heads=5),
        "does not describe an Idefics2",
    ),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_files_of_another_model_are_refused(broken: Path, kind: str) -> None:
    name, change, told = BAD_FILES[kind]
    _edit(broken, name, change)
    with pytest.raises(BadCheckpoint, match=told):
        _load(broken)
