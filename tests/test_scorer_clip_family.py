"""ICT, HP, both, CLIPScore, PickScore and HPSv2 against their references, on small random networks
(data/ict-tiny, hp-tiny, hpsv2-tiny)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import vqa
from features.clip import Clip
from tests.conftest import busy
from tests.recipes import DATA, beside, checkpoint, difference, expected, inputs, tensors
from vqa.errors import BadArgument, MissingPrompt
from vqa.models.clip import Towers, image_features
from vqa.models.clip_pixels import Padded
from vqa.scorer import Scorer
from vqa.scorers import clipscore, hp, hpsv2, ict, icthp, pickscore
from vqa.scorers.base import PerFrame, Rating, View

ICT, HP, HPS = (expected(name) for name in ("ict-tiny", "hp-tiny", "hpsv2-tiny"))
ATOL = ICT["tolerances"]
PROMPT = ICT["cases"][0]["prompt"]
CPU = torch.device("cpu")

Pictures = Mapping[str, Image.Image]
Raters = Mapping[str, Any]


@pytest.fixture(scope="module")
def pictures() -> Pictures:
    """The three pictures of all the fixtures."""
    return {name: Image.fromarray(pixels) for name, pixels in inputs("ict-tiny").items()}


@pytest.fixture(scope="module")
def ict_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As published: a pickle, with the buffers of integers that older files hold."""
    folder = beside("ict-tiny", tmp_path_factory.mktemp("ict"))
    old = {
        f"{tower}_model.embeddings.position_ids": torch.arange(count)[None]
        for tower, count in (("text", 77), ("vision", 37))
    }
    torch.save(tensors(DATA / "ict-tiny") | old, folder / "pytorch_model.bin")
    return folder


@pytest.fixture(scope="module")
def hp_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As published: a pickle in each of two folders."""
    folder = checkpoint("hp-tiny", tmp_path_factory.mktemp("hp"), pickled="pytorch_model.bin")
    head = folder / "hp_scorer"
    (head / "pytorch_model.bin").rename(head / "mlp_pytorch_model.bin")
    return folder


@pytest.fixture(scope="module")
def hps_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As published: the tensors of a pickle under "state_dict"."""
    folder = beside("hpsv2-tiny", tmp_path_factory.mktemp("hpsv2"))
    torch.save(
        {"epoch": 1, "state_dict": tensors(DATA / "hpsv2-tiny")}, folder / "HPS_v2_compressed.pt"
    )
    return folder


@pytest.fixture(scope="module")
def raters(ict_folder: Path, hp_folder: Path, hps_folder: Path) -> Raters:
    folders = {"ict": ict_folder, "hp": hp_folder, "hpsv2": hps_folder}
    folders |= dict.fromkeys(("clipscore", "pickscore"), ict_folder)
    modules = (ict, hp, icthp, clipscore, pickscore, hpsv2)
    return {
        module.__name__.rpartition(".")[2]: module.load(folders, device=CPU, dtype=torch.float32)
        for module in modules
    }


def _load(name: str, folder: Any, **options: Any) -> Scorer:
    return vqa.load(name, checkpoint=folder, device="cpu", dtype="float32", **options)


def _ict(folder: Path) -> ict.ICT:
    return ict.load({"ict": folder}, device=CPU, dtype=torch.float32)


def _hp(folder: Path) -> hp.HP:
    return hp.load({"hp": folder}, device=CPU, dtype=torch.float32)


def _hpsv2(folder: Path, *, antialias: bool = False) -> hpsv2.HPSv2:
    return hpsv2.load({"hpsv2": folder}, device=CPU, dtype=torch.float32, antialias=antialias)


def _noise(height: int, width: int) -> Image.Image:
    pixels = np.random.default_rng(height * 997 + width).integers(0, 256, (height, width, 3))
    return Image.fromarray(pixels.astype(np.uint8))


# ICT


def test_ict_pixels_and_features(raters: Raters, pictures: Pictures) -> None:
    towers = raters["ict"].towers
    for image in ICT["images"]:
        pixels = towers.pixels([pictures[image["npz_key"]]])
        assert difference(pixels, image["pixel_values"]) < ATOL["pixel_values"]
        features = image_features(towers.network, pixels)
        found = torch.nn.functional.normalize(features)[0].tolist()
        assert found == pytest.approx(image["image_features_normalised"], abs=ATOL["features"])


def test_ict_text_features(raters: Raters) -> None:
    found = raters["ict"].towers.text_features([case["prompt"] for case in ICT["cases"]])
    for features, case in zip(found, ICT["cases"], strict=True):
        assert difference(features[None], case["text_features_raw"]) < ATOL["features"]


def test_ict_gives_every_picture_its_score_for_every_prompt_in_one_batch(
    raters: Raters, pictures: Pictures
) -> None:
    wanted = [(case, name) for case in ICT["cases"] for name in case["scores"]]
    pairs = [(pictures[name], case["prompt"]) for case, name in wanted]
    due = [case["scores"][name] for case, name in wanted]
    assert raters["ict"].rate_images(pairs) == pytest.approx(due, abs=ATOL["score"])


@pytest.mark.parametrize("prompt", [PROMPT, ICT["cases"][2]["prompt"], ""])
def test_ict_scores_through_the_front_door(
    ict_folder: Path, pictures: Pictures, prompt: str
) -> None:
    (case,) = (case for case in ICT["cases"] if case["prompt"] == prompt)
    score = _load("ict", ict_folder).score(pictures["portrait"], prompt=prompt)
    assert score.value == pytest.approx(case["scores"]["portrait"], abs=ATOL["score"])
    assert score.dimensions == {}
    assert score.coverage == 1


def test_safetensors_give_what_the_pickle_gives(
    raters: Raters, pictures: Pictures, tmp_path: Path
) -> None:
    pairs = [(pictures["big"], PROMPT)]
    found = _ict(checkpoint("ict-tiny", tmp_path)).rate_images(pairs)
    assert found == raters["ict"].rate_images(pairs)


# HP, and both


@pytest.mark.parametrize("kind", ["pickles", "safetensors"])
def test_hp_scores_need_no_prompt(
    hp_folder: Path, pictures: Pictures, kind: str, tmp_path: Path
) -> None:
    folder = hp_folder if kind == "pickles" else checkpoint("hp-tiny", tmp_path)
    scores = _load("hp", folder).score_many([pictures[i["npz_key"]] for i in HP["images"]])
    found = [score.value for score in scores]
    assert found == pytest.approx([i["score"] for i in HP["images"]], abs=HP["tolerances"]["score"])


def test_hp_features_and_what_the_head_makes_of_them(raters: Raters, pictures: Pictures) -> None:
    rater = raters["hp"]
    for image in HP["images"]:
        pixels = rater.framing([pictures[image["npz_key"]]])
        assert difference(pixels, image["pixel_values"]) < HP["tolerances"]["pixel_values"]
        features = image_features(rater.network, pixels)
        atol = HP["tolerances"]["features"]
        assert features[0].tolist() == pytest.approx(image["image_features"], abs=atol)
        assert rater.head(features).tolist() == pytest.approx([image["mlp_raw"]], abs=atol)


def test_icthp_is_the_weighted_sum_of_both(
    ict_folder: Path, hp_folder: Path, pictures: Pictures
) -> None:
    shown = ICT["cases"][0]["scores"]["big"]
    (liked,) = (image["score"] for image in HP["images"] if image["npz_key"] == "big")
    folders = {"ict": ict_folder, "hp": hp_folder}
    for weights in ({"ict": 0.5, "hp": 0.5}, {"ict": 3, "hp": -0.25}):
        scorer = _load("icthp", folders, weights=None if weights["ict"] == 0.5 else weights)
        score = scorer.score(pictures["big"], prompt=PROMPT)
        due = weights["ict"] * shown + weights["hp"] * liked
        assert score.value == pytest.approx(due, abs=5e-5)
        assert score.dimensions == pytest.approx({"ict": shown, "hp": liked}, abs=1e-5)


@pytest.mark.parametrize(
    "weights",
    [
        {"ict": 1.0},
        {"ict": 1, "hp": 1, "clip": 1},
        {"ict": math.nan, "hp": 1},
        {"ict": "1", "hp": 1},
    ],
    ids=str,
)
def test_weights_that_are_not_two_numbers_are_refused(weights: dict[str, Any]) -> None:
    nowhere = {"ict": Path("x"), "hp": Path("x")}
    with pytest.raises(BadArgument, match="weights are two numbers by name"):
        icthp.load(nowhere, device=CPU, dtype=torch.float32, weights=weights)


@pytest.mark.parametrize(("reduce", "reduced"), [("mean", fmean), ("min", min)])
def test_clip_gets_each_aspect_and_scale_reduced_like_its_value(
    raters: Raters, reduce: str, reduced: Callable[[list[float]], float]
) -> None:
    view = View(Clip.from_frames(busy(4, width=32, height=32), fps=8), PROMPT)
    found = {}
    for name in ("ict", "hp", "icthp", "clipscore"):
        (rating,) = PerFrame(raters[name], reduce, images_at_once=3).rate([view])
        assert isinstance(rating, Rating)
        found[name] = rating
    curves = {name: list(rating.values) for name, rating in found.items()}
    assert all(len(set(curve)) == 4 for curve in curves.values())
    halves = [(a + b) / 2 for a, b in zip(curves["ict"], curves["hp"], strict=True)]
    assert curves["icthp"] == pytest.approx(halves)
    assert found["icthp"].value == pytest.approx(reduced(halves))
    due = {name: reduced(curves[name]) for name in ("ict", "hp")}
    assert found["icthp"].aspects == pytest.approx(due)
    percent = reduced([100 * cosine for cosine in curves["clipscore"]])
    assert found["clipscore"].scales["percent"] == pytest.approx(percent)
    assert found["clipscore"].scales["max"] == max(curves["clipscore"])  # reductions stay


# CLIPScore and PickScore


@pytest.mark.parametrize("case", ICT["cases"], ids=lambda case: case["prompt"][:12])
def test_clipscore_on_its_scales(raters: Raters, pictures: Pictures, case: dict[str, Any]) -> None:
    rater = raters["clipscore"]
    told = case["extras_same_weights"]["per_image"]
    ratings = rater.rate_images([(pictures[name], case["prompt"]) for name in told])
    for rating, due in zip(ratings, told.values(), strict=True):
        cosine, cut = due["cosine_hf_tokenizer"], due["clipscore_w2.5_clipped_at_0"]
        scales = {"cosine": cosine, "clipscore": cut}
        assert rating.value == pytest.approx(cosine, abs=ATOL["score"])
        found = {name: rating.scales[name] for name in scales}
        assert found == pytest.approx(scales, abs=ATOL["score"])
        assert rating.scales["percent"] == 100 * rating.value


@pytest.mark.parametrize("case", ICT["cases"], ids=lambda case: case["prompt"][:12])
def test_pickscore_and_what_it_says_people_pick(
    raters: Raters, pictures: Pictures, case: dict[str, Any]
) -> None:
    rater = raters["pickscore"]
    assert rater.towers.scale == pytest.approx(ICT["logit_scale_exp"], rel=1e-7)
    told = case["extras_same_weights"]
    values = rater.rate_images([(pictures[n], case["prompt"]) for n in told["image_order"]])
    due = [told["per_image"][name]["pickscore_v1_raw"] for name in told["image_order"]]
    assert values == pytest.approx(due, abs=ATOL["score"] * rater.towers.scale)
    picked = told["pickscore_softmax_over_images"]
    assert pickscore.preferences(values) == pytest.approx(picked, rel=1e-3, abs=1e-6)


def test_both_score_and_rank_through_the_front_door(ict_folder: Path, pictures: Pictures) -> None:
    case = ICT["cases"][2]
    told, order = case["extras_same_weights"]["per_image"], list(pictures)
    score = _load("clipscore", ict_folder).score(pictures["landscape"], prompt=case["prompt"])
    cut = told["landscape"]["clipscore_w2.5_clipped_at_0"]
    assert score.scales["clipscore"] == pytest.approx(cut, abs=1e-5)
    ranked = _load("pickscore", ict_folder).rank(case["prompt"], list(pictures.values()))
    due = sorted(order, key=lambda name: -told[name]["pickscore_v1_raw"])
    assert [order[score.position or 0] for score in ranked] == due


@given(values=st.lists(st.floats(-200, 200) | st.none(), max_size=8), shift=st.floats(-1e3, 1e3))
def test_preferences_are_shares_that_depend_on_differences_only(
    values: list[float | None], shift: float
) -> None:
    found = pickscore.preferences(values)
    known = [share for share in found if share is not None]
    assert [share is None for share in found] == [value is None for value in values]
    assert math.fsum(known) == pytest.approx(1 if known else 0)
    moved = pickscore.preferences([None if v is None else v + shift for v in values])
    assert [share for share in moved if share is not None] == pytest.approx(known, abs=1e-9)


def test_two_candidates_divide_by_the_logistic_of_their_difference() -> None:
    first, second = pickscore.preferences([21.0, 20.0])
    assert first == pytest.approx(1 / (1 + math.exp(-1)))
    assert second == pytest.approx(1 / (1 + math.exp(1)))


# HPSv2


@pytest.mark.parametrize("antialias", [False, True])
def test_hpsv2_pixels(pictures: Pictures, antialias: bool) -> None:
    for image in HPS["images"]:
        told = image[f"pixel_values_antialias_{str(antialias).lower()}"]
        found = Padded(84, antialias)([pictures[image["npz_key"]]])
        assert difference(found, told) < HPS["tolerances"]["pixel_values"]
        assert float(found.abs().max()) == pytest.approx(told["absmax"], abs=1e-5)


@pytest.mark.parametrize("antialias", [False, True])
def test_hpsv2_scores(hps_folder: Path, pictures: Pictures, antialias: bool) -> None:
    key = f"scores_antialias_{str(antialias).lower()}"
    wanted = [(case, name) for case in HPS["cases"] for name in case[key]]
    pairs = [(pictures[name], case["prompt"]) for case, name in wanted]
    found = _hpsv2(hps_folder, antialias=antialias).rate_images(pairs)
    due = [case[key][name] for case, name in wanted]
    assert found == pytest.approx(due, abs=HPS["tolerances"]["score"])


def test_hpsv2_does_not_smooth_unless_told(
    hps_folder: Path, pictures: Pictures, tmp_path: Path
) -> None:
    case, folder = HPS["cases"][1], checkpoint("hpsv2-tiny", tmp_path)
    for where in (hps_folder, folder):  # pickle, safetensors
        score = _load("hpsv2", where).score(pictures["big"], prompt=case["prompt"])
        assert score.value == pytest.approx(case["scores_antialias_false"]["big"], abs=1e-5)
    smooth = _load("hpsv2", folder, antialias=True).score(pictures["big"], prompt=case["prompt"])
    assert smooth.value == pytest.approx(case["scores_antialias_true"]["big"], abs=1e-5)


# All of them


NAMES = ["ict", "hp", "icthp", "clipscore", "pickscore", "hpsv2"]


@pytest.mark.parametrize("name", NAMES)
def test_batch_equals_singles(raters: Raters, pictures: Pictures, name: str) -> None:
    prompts = [case["prompt"] for case in ICT["cases"]]
    pairs = list(zip([*pictures.values(), *pictures.values()], prompts, strict=True))
    values = [getattr(found, "value", found) for found in raters[name].rate_images(pairs)]
    singles = [raters[name].rate_images([pair])[0] for pair in pairs]
    due = [getattr(found, "value", found) for found in singles]
    assert values == pytest.approx(due, abs=2e-5, rel=1e-6)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "hp"])
def test_clip_without_its_prompt_is_refused(raters: Raters, ict_folder: Path, name: str) -> None:
    assert raters[name].needs_prompt
    if name == "ict":
        with pytest.raises(MissingPrompt, match="give the prompt"):
            _load(name, ict_folder).score(_noise(30, 30))


def test_unreadable_picture_costs_its_own_row(
    ict_folder: Path, pictures: Pictures, tmp_path: Path
) -> None:
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno")
    sources = [pictures["big"], tmp_path / "broken.png", pictures["portrait"]]
    scores = _load("ict", ict_folder).score_many(sources, PROMPT)
    told = ICT["cases"][0]["scores"]
    assert scores[1].error
    assert [scores[0].value, scores[2].value] == pytest.approx(
        [told["big"], told["portrait"]], abs=ATOL["score"]
    )


def test_half_precision_stays_near(ict_folder: Path, raters: Raters, pictures: Pictures) -> None:
    half = pickscore.load({"pickscore": ict_folder}, device=CPU, dtype=torch.bfloat16)
    pairs = [(picture, PROMPT) for picture in pictures.values()]
    due = raters["pickscore"].rate_images(pairs)
    assert half.rate_images(pairs) == pytest.approx(due, abs=0.05 * half.towers.scale)
    # the factor of all cosines is not rounded to three digits
    assert half.towers.scale == raters["pickscore"].towers.scale


@pytest.mark.parametrize(
    ("name", "option"),
    [("ict", {"weights": {"ict": 1, "hp": 1}}), ("icthp", {"antialias": True})],
    ids=["weights", "antialias"],
)
def test_option_of_another_scorer_is_refused(name: str, option: dict[str, Any]) -> None:
    (word,) = option
    with pytest.raises(BadArgument, match=f"{name}: {word} has no meaning for this scorer"):
        _load(name, None, **option)


def test_frames_of_a_clip_share_one_pass_of_their_prompt(
    raters: Raters, pictures: Pictures
) -> None:
    seen: list[int] = []
    found: Towers = raters["ict"].towers
    counting = Towers(found.network, found.pixels, _Counting(found.prompts, seen))  # type: ignore[arg-type]
    counting.cosines([(pictures["big"], "a"), (pictures["big"], "b"), (pictures["portrait"], "a")])
    assert seen == [2]


class _Counting:
    def __init__(self, prompts: Any, seen: list[int]) -> None:
        self.prompts, self.seen = prompts, seen

    def ids(self, texts: list[str]) -> torch.Tensor:
        self.seen.append(len(texts))
        found: torch.Tensor = self.prompts.ids(texts)
        return found
