import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import Qwen2VLConfig, Qwen2VLModel

import vqa
from features.clip import Clip
from tests.recipes import checkpoint, expected, inputs, tensors
from vqa.errors import BadArgument, BadCheckpoint, BadFrames, MissingPrompt
from vqa.models.qwen2vl import load_regressor
from vqa.models.qwen2vl_pixels import Recipe, fitted_size, patches, util_resize, util_size
from vqa.models.videoscore_prompt import ASPECTS
from vqa.sample import even_rate
from vqa.scorer import Scorer
from vqa.scorers.base import NetworkScorer
from vqa.scorers.videoscore_qwen2vl import Rater

NAME = "videoscore-qwen2vl"
TINY = f"{NAME}-tiny"
CASES = {case["name"]: case for case in expected(TINY)["cases"]}
DATA = Path(__file__).parent / "data" / TINY
CPU = torch.device("cpu")
U8 = npt.NDArray[np.uint8]
Case = dict[str, Any]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint(TINY, tmp_path_factory.mktemp(TINY))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Scorer:
    """The same network with pictures of a few tokens, for tests that compare it with itself."""
    folder = checkpoint(TINY, tmp_path_factory.mktemp("small"))
    change(folder / "preprocessor_config.json", min_pixels=3136, max_pixels=7 * 784)
    return load(folder)


@pytest.fixture(params=CASES.values(), ids=list(CASES))
def case(request: pytest.FixtureRequest) -> Case:
    found: Case = request.param
    return found


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    """The checkpoint, to be changed."""
    return Path(shutil.copytree(folder, tmp_path / "model"))


def change(file: Path, **values: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def load(folder: Path, *, dtype: str = "float32", sampler: str | None = None) -> Scorer:
    return vqa.load(NAME, checkpoint=folder, device="cpu", dtype=dtype, sampler=sampler)


def rater(scorer: Scorer) -> Rater:
    assert isinstance(scorer, NetworkScorer) and isinstance(scorer.rater, Rater)
    return scorer.rater


def limited(folder: Path, case: Case) -> Path:
    """Give the image processor the limits that the case was made with."""
    least, most = case["processor_min_pixels"], case["processor_max_pixels"]
    change(folder / "preprocessor_config.json", min_pixels=least, max_pixels=most)
    return folder


def recipe_of(case: Case) -> Recipe:
    least, most = case["processor_min_pixels"], case["processor_max_pixels"]
    return replace(Recipe.read(DATA), least=least, most=most)


def clip_of(case: Case) -> Clip:
    return Clip.from_frames(inputs(TINY)[case["frames_npz_key"]], fps=case["video_fps"])


def chosen(case: Case) -> U8:
    frames: U8 = inputs(TINY)[case["frames_npz_key"]][case["sampled_indices"]]
    return frames


def noise(*shape: int) -> U8:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


# What the reference said ------------------------------------------------------------------------


def test_the_five_numbers_are_those_of_the_reference(copy: Path, case: Case) -> None:
    score = load(limited(copy, case)).score(clip_of(case), prompt=case["text_prompt"])
    assert list(score.dimensions) == list(ASPECTS)
    assert list(score.dimensions.values()) == pytest.approx(case["logits"], rel=0, abs=1e-5)
    assert score.value == pytest.approx(np.mean(case["logits"]), rel=0, abs=1e-5)
    assert score.sampled["indices"] == case["sampled_indices"]


def test_the_token_ids_are_those_of_the_reference(folder: Path, case: Case) -> None:
    count = int(np.prod(case["video_grid_thw"])) // 4
    assert rater(load(folder)).ids(case["text_prompt"], count=count) == case["input_ids"]


def test_the_first_resize_is_exact(case: Case) -> None:
    frames = chosen(case)
    size = util_size(*frames.shape[1:3], count=len(frames))
    assert list(size) == case["after_util_resize_hw"]
    resized = np.stack([util_resize(frame, *size) for frame in frames]).transpose(0, 3, 1, 2)
    same_statistics(resized.astype(np.float64), case["after_util_resize_uint8_values"], within=0)


def test_the_patches_are_those_of_the_reference(case: Case) -> None:
    found, grid = patches(chosen(case), recipe_of(case))
    assert list(grid) == case["video_grid_thw"]
    same_statistics(found.double().numpy(), case["pixel_values_videos"], within=1e-6)
    for row, name in ((0, "row0"), (1, "row1"), (-1, "row_last")):
        due = case[f"pixel_values_videos_{name}_first8"]
        assert found[row, :8].tolist() == pytest.approx(due, abs=1e-6)


def test_what_the_networks_make_of_it_on_the_way_is_that_of_the_reference(
    folder: Path, case: Case
) -> None:
    network = rater(load(folder)).network
    seen: dict[str, torch.Tensor] = {}

    def keep(name: str) -> Any:
        return lambda module, given, made: seen.update({name: made.detach()})

    network.visual.patch_embed.register_forward_hook(keep("patch_embed_out"))
    network.visual.merger.register_forward_hook(keep("visual_merger_out"))
    network.language_model.norm.register_forward_hook(keep("text_last_hidden_state"))
    found, grid = patches(chosen(case), recipe_of(case))
    network(case["input_ids"], found, grid)
    for name, made in seen.items():
        same_statistics(made.double().numpy(), case[name], within=2e-5)
    last = seen["text_last_hidden_state"][0, -1].tolist()
    assert last == pytest.approx(case["text_last_hidden_state_at_last_token"], abs=2e-5)


def same_statistics(found: npt.NDArray[np.float64], due: Case, *, within: float) -> None:
    assert list(found.shape) == due["shape"]
    flat = found.reshape(-1)
    assert flat[:8].tolist() == pytest.approx(due["first8"], rel=0, abs=within)
    assert flat[-8:].tolist() == pytest.approx(due["last8"], rel=0, abs=within)
    assert flat.mean() == pytest.approx(due["mean"], rel=0, abs=within or 1e-11)
    assert flat.std() == pytest.approx(due["std"], rel=0, abs=within or 1e-11)
    assert np.abs(flat).max() == pytest.approx(due["absmax"], rel=0, abs=within)


@pytest.mark.parametrize("row", expected(TINY)["frame_sampling_fps8"], ids=str)
def test_these_frames_are_read(row: Case) -> None:
    found = even_rate(row["total_frames"], row["video_fps"], wanted=8, limit=768)
    assert len(found) == row["nframes"] and found == row["indices"]


@pytest.mark.parametrize("row", expected(TINY)["resize_chain"], ids=lambda row: str(row["in_hw"]))
def test_frames_are_resized_twice_to_these_sizes(row: Case) -> None:
    size = util_size(*row["in_hw"], count=row["nframes"])
    assert list(size) == row["util_hw"]
    for least, most in ((200704, 501760), (3136, 12845056)):
        found = fitted_size(*size, factor=28, least=least, most=most)
        assert list(found) == row[f"then_processor_{least}_{most}"]


def test_the_published_example_becomes_these_patches(shared: Path) -> None:
    facts = json.loads((shared / "reference/published_outputs.json").read_text())
    due = facts["input_checks"]["video1"]["qwen2vl_fps8"]
    clip = vqa.EvenRate(8)(Clip.open(shared / "videos/videoscore_video1.mp4"))
    found, grid = patches(clip.frames(), Recipe.read(DATA))
    assert list(grid) == due["video_grid_thw"] and len(found) // 4 == due["video_tokens"]
    same_statistics(found.double().numpy(), due["pixel_values_videos"], within=1e-6)


# Patches ----------------------------------------------------------------------------------------


def test_a_token_is_a_square_of_patches_of_two_frames() -> None:
    """Each patch, looked for where the definition says it is. Nothing is resized here."""
    recipe = replace(Recipe.read(DATA), least=1, most=10**9, mean=(0.0,) * 3, deviation=(1.0,) * 3)
    frames = noise(4, 280, 392, 3)
    found, grid = patches(frames, recipe)
    assert grid == (2, 20, 28)
    rows: Iterator[torch.Tensor] = iter(found.reshape(-1, 3, 2, 14, 14) * 255)
    for time in (0, 2):
        for y, x in np.ndindex(10, 14):
            for down, across in np.ndindex(2, 2):
                top, left = 14 * (2 * y + down), 14 * (2 * x + across)
                cut = frames[time : time + 2, top : top + 14, left : left + 14]
                assert np.array_equal(next(rows).round().numpy(), cut.transpose(3, 0, 1, 2))


def test_a_last_frame_without_a_partner_is_repeated() -> None:
    frames, recipe = noise(3, 60, 90, 3), Recipe.read(DATA)
    found, grid = patches(frames, recipe)
    due, _ = patches(frames[[0, 1, 2, 2]], recipe)
    assert grid[0] == 2 and torch.equal(found, due)


@given(st.integers(28, 3000), st.floats(0.25, 4), st.integers(10**5, 10**6), st.floats(5, 60))
def test_sizes_are_whole_tokens_within_the_limits(
    height: int, aspect: float, least: int, room: float
) -> None:
    width = round(height * aspect)
    down, across = fitted_size(height, width, factor=28, least=least, most=least * room)
    assert down % 28 == across % 28 == 0
    assert least <= down * across <= least * room


def test_a_strip_is_refused_however_small() -> None:
    assert fitted_size(2, 400, factor=28, least=1, most=10**9) == (28, 392)
    with pytest.raises(BadFrames, match="401x2: the long side is over 200 times"):
        fitted_size(2, 401, factor=28, least=1, most=10**9)


@pytest.mark.parametrize("names", [("min_pixels", "max_pixels"), ("shortest_edge", "longest_edge")])
def test_limits_are_read_from_the_size_too(copy: Path, names: tuple[str, str]) -> None:
    file = copy / "preprocessor_config.json"
    data = json.loads(file.read_text())
    del data["min_pixels"], data["max_pixels"]
    file.write_text(json.dumps(data | {"size": dict(zip(names, (5, 70_000), strict=True))}))
    recipe = Recipe.read(copy)
    assert (recipe.least, recipe.most) == (5, 70_000)


# Clips and prompts ------------------------------------------------------------------------------


def test_several_clips_score_as_they_do_alone(small: Scorer) -> None:
    wide, tall = noise(4, 60, 90, 3), noise(7, 96, 40, 3)
    first, broken, second = small.score_many([wide, "no such file.mp4", tall], ["a", "b", "c d e"])
    assert broken.status == "error"
    assert first.dimensions == small.score(wide, prompt="a").dimensions
    assert second.dimensions == small.score(tall, prompt="c d e").dimensions


def test_a_clip_of_one_frame_is_refused(small: Scorer) -> None:
    for scorer in (small, replace(small, sampler=vqa.All())):
        with pytest.raises(BadFrames, match=r"1 frame.*pairs"):
            scorer.score(noise(1, 60, 90, 3), prompt="x")


def test_any_sampler_will_do(small: Scorer) -> None:
    scorer = replace(small, sampler=vqa.Uniform(3))
    score = scorer.score(noise(9, 60, 90, 3), prompt="x")
    assert score.sampled["indices"] == [0, 4, 8] and len(score.dimensions) == 5


def test_the_prompt_changes_the_numbers(small: Scorer) -> None:
    frames = noise(4, 60, 90, 3)
    assert small.score(frames, prompt="a").value != small.score(frames, prompt="b").value


def test_without_a_prompt_there_is_no_score(small: Scorer) -> None:
    with pytest.raises(MissingPrompt):
        small.score(noise(4, 60, 90, 3))


def test_a_prompt_with_the_token_of_the_video_is_refused(small: Scorer) -> None:
    with pytest.raises(BadArgument, match="stands for the video"):
        small.score(noise(4, 60, 90, 3), prompt="a <|video_pad|> b")


# Checkpoints ------------------------------------------------------------------------------------


def test_a_pickle_holds_the_same_network(copy: Path, folder: Path) -> None:
    (copy / "model.safetensors").unlink()
    torch.save(tensors(DATA), copy / "pytorch_model.bin")
    found, due = (rater(load(place)).network.state_dict() for place in (copy, folder))
    assert found.keys() == due.keys() and all(torch.equal(found[name], due[name]) for name in due)


def test_another_size_gives_what_the_librarys_own_model_gives(tmp_path: Path) -> None:
    """Of other widths, depths, heads, sections and token ids, and with the older name of mrope."""
    vision = {"depth": 1, "embed_dim": 48, "num_heads": 3, "hidden_size": 48, "in_chans": 3}
    data = json.loads((DATA / "config.json").read_text()) | {
        "hidden_size": 48,
        "intermediate_size": 40,
        "num_attention_heads": 6,
        "num_key_value_heads": 3,
        "num_hidden_layers": 3,
        "vocab_size": 50,
        "video_token_id": 7,
        "rope_scaling": {"type": "mrope", "mrope_section": [1, 1, 2]},
        "vision_config": {**vision, "model_type": "qwen2_vl", "spatial_patch_size": 14},
    }
    (tmp_path / "config.json").write_text(json.dumps(data))
    torch.manual_seed(0)
    model = Qwen2VLModel(Qwen2VLConfig.from_dict(data)).train(False)
    head = torch.nn.Linear(48, 5)
    state = {k.replace("language_model.", "model."): v for k, v in model.state_dict().items()}
    state |= {f"score.{k}": v for k, v in head.state_dict().items()}
    save_file(state, tmp_path / "model.safetensors")

    ids, seen = [1, 2, *[7] * 12, 3, 4], torch.randn(48, 1176)
    network = load_regressor(tmp_path, outputs=5, device=CPU, dtype=torch.float32)
    with torch.inference_mode():
        read = model(
            input_ids=torch.tensor([ids]),
            pixel_values_videos=seen,
            video_grid_thw=torch.tensor([[2, 4, 6]]),
            position_ids=torch.arange(len(ids)).expand(3, 1, -1),
        )
        due = head(read.last_hidden_state[0, -1])
        assert torch.allclose(network(ids, seen, (2, 4, 6)), due, atol=1e-6)


def test_in_bfloat16_the_frequencies_stay_exact(folder: Path, small: Scorer) -> None:
    """Rounded they would move scores by more than the rounded weights do."""
    exact, network = (rater(s).network for s in (small, load(folder, dtype="bfloat16")))
    assert network.score.weight.dtype == torch.bfloat16
    for part, name in (("language_model", "rotary_emb"), ("visual", "rotary_pos_emb")):
        ours, due = (getattr(getattr(n, part), name).inv_freq for n in (network, exact))
        assert ours.dtype == torch.float32 and torch.equal(ours, due)
    seen, grid = patches(noise(2, 60, 90, 3), rater(small).recipe)
    ids = rater(small).ids("x", count=len(seen) // 4)
    assert torch.allclose(network(ids, seen, grid), exact(ids, seen, grid), atol=0.1)


@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json", "tokenizer.json"])
def test_a_missing_file_is_named_with_where_it_comes_from(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(BadCheckpoint, match=f"{name} is missing.*TIGER-Lab/VideoScore-Qwen2-VL"):
        load(copy)


def test_tensors_that_do_not_fit_are_listed(copy: Path) -> None:
    state = load_file(copy / "model.safetensors")
    del state["score.bias"]
    state["lm_head.weight"] = torch.zeros(2, 2)
    state["model.norm.weight"] = torch.zeros(3)
    save_file(state, copy / "model.safetensors")
    with pytest.raises(BadCheckpoint) as error:
        load(copy)
    for told in (
        "1 missing (score.bias)",
        "1 unexpected (lm_head.weight)",
        "language_model.norm.weight: [3] instead of [64]",
    ):
        assert told in str(error.value)


@pytest.mark.parametrize(
    ("file", "values", "message"),
    [
        ("config.json", {"model_type": "idefics2"}, "model_type is 'idefics2'"),
        ("config.json", {"hidden_size": "wide"}, "describes no Qwen2-VL"),
        ("config.json", {"num_attention_heads": 0}, "describes no Qwen2-VL"),
        ("config.json", {"video_token_id": 688}, "has the id 689 there, and 688 in config.json"),
        ("preprocessor_config.json", {"image_mean": None}, "no preprocessor config of Qwen2-VL"),
        ("preprocessor_config.json", {"size": 5}, "no preprocessor config of Qwen2-VL"),
        ("tokenizer.json", {"model": {}}, "is no tokenizer"),
    ],
)
def test_files_of_another_model_are_told(copy: Path, file: str, values: Case, message: str) -> None:
    change(copy / file, **values)
    with pytest.raises(BadCheckpoint, match=message):
        load(copy)
