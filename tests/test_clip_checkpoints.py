"""Checkpoints of the CLIP family: what is taken from where, and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import CLIPModel

from tests.recipes import DATA, beside, checkpoint, expected, inputs, tensors
from vqa.errors import BadCheckpoint, MissingCheckpoint
from vqa.models import open_clip
from vqa.models.clip import VIT_H
from vqa.scorers import hp, hpsv2, ict
from vqa.scorers.base import ImageRater

V2, V21 = "HPS_v2_compressed.pt", "HPS_v2.1_compressed.pt"
CASE = expected("ict-tiny")["cases"][0]
EXPECTED = CASE["scores"]["big"]
# As open_clip describes it.
VIT_H_14 = {
    "embed_dim": 1024,
    "vision_cfg": {
        "image_size": 224,
        "layers": 32,
        "width": 1280,
        "head_width": 80,
        "patch_size": 14,
    },
    "text_cfg": {
        "context_length": 77,
        "vocab_size": 49408,
        "width": 1024,
        "heads": 16,
        "layers": 24,
    },
}


def _ict(folder: Path) -> ict.ICT:
    return ict.load({"ict": folder}, device=torch.device("cpu"), dtype=torch.float32)


def _hp(folder: Path) -> hp.HP:
    return hp.load({"hp": folder}, device=torch.device("cpu"), dtype=torch.float32)


def _hpsv2(folder: Path) -> hpsv2.HPSv2:
    return hpsv2.load({"hpsv2": folder}, device=torch.device("cpu"), dtype=torch.float32)


def _big(rater: ImageRater) -> Any:
    """What a rater gives the picture "big"."""
    image = Image.fromarray(inputs("ict-tiny")["big"])
    return rater.rate_images([(image, CASE["prompt"])])[0]


def test_end_token_is_the_tokenizers_whatever_the_config_says(tmp_path: Path) -> None:
    folder = checkpoint("ict-tiny", tmp_path)
    config = json.loads((folder / "config.json").read_text())
    config["text_config"] |= {"bos_token_id": 7, "eos_token_id": 320}  # 320 is "a"
    (folder / "config.json").write_text(json.dumps(config))
    assert _big(_ict(folder)) == pytest.approx(EXPECTED, abs=1e-6)


@pytest.mark.parametrize("name", ["ict-tiny", "hpsv2-tiny"])
def test_scale_may_be_a_list_of_one(name: str, tmp_path: Path) -> None:
    file = checkpoint(name, tmp_path) / "model.safetensors"
    due = _big(_hpsv2(tmp_path) if name == "hpsv2-tiny" else _ict(tmp_path))
    state = load_file(file)
    save_file(state | {"logit_scale": state["logit_scale"][None]}, file)
    rater = _hpsv2(tmp_path) if name == "hpsv2-tiny" else _ict(tmp_path)
    assert _big(rater) == due
    assert rater.towers.scale == pytest.approx(float(state["logit_scale"].exp()))


def test_config_that_is_not_there_is_that_of_vit_h_on_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    folder = checkpoint("ict-tiny", tmp_path / "ict", pickled="pytorch_model.bin")
    (folder / "preprocessor_config.json").unlink()  # then sizes are those of the network
    config = (folder / "config.json").rename(tmp_path / "config.json")
    with pytest.raises(MissingCheckpoint, match=rf"config\.json: missing; .* of {VIT_H}: .* set"):
        _ict(folder)
    repo = tmp_path / "cache" / f"models--{VIT_H.replace('/', '--')}"
    for place in ("refs", f"snapshots/{'0' * 40}"):
        (repo / place).mkdir(parents=True)
    (repo / "refs" / "main").write_text("0" * 40)
    shutil.copy(config, repo / "snapshots" / ("0" * 40))
    assert _big(_ict(folder)) == pytest.approx(EXPECTED, abs=1e-6)


def test_of_both_versions_of_hpsv2_the_later_is_taken(tmp_path: Path) -> None:
    folder, state = beside("hpsv2-tiny", tmp_path), tensors(DATA / "hpsv2-tiny")
    later = {name: -value if name == "visual.proj" else value for name, value in state.items()}
    for name, content in ((V2, state), (V21, later)):
        torch.save({"state_dict": content}, folder / name)
    first = _big(_hpsv2(folder))
    (folder / V21).unlink()
    assert _big(_hpsv2(folder)) == pytest.approx(-first, abs=1e-6)
    assert abs(first) > 1e-3


def test_sizes_without_a_config_are_read_from_the_tensors_of_vit_h(tmp_path: Path) -> None:
    shapes: dict[str, tuple[int, ...]] = {
        "visual.conv1.weight": (1280, 3, 14, 14),
        "visual.positional_embedding": (257, 1280),
        "visual.proj": (1280, 1024),
        "token_embedding.weight": (49408, 1024),
        "positional_embedding": (77, 1024),
    }
    visual, text = "visual.transformer.resblocks", "transformer.resblocks"
    shapes |= {f"{visual}.{number}.mlp.c_fc.weight": (5120, 1280) for number in range(32)}
    shapes |= {f"{text}.{number}.mlp.c_fc.weight": (4096, 1024) for number in range(24)}
    found = open_clip.read_config(tmp_path, _Outline(shapes))
    with torch.device("meta"):
        network = CLIPModel(found.whole)
    assert sum(p.numel() for p in network.parameters()) == pytest.approx(0.9861e9, rel=1e-4)
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": VIT_H_14}))
    told = open_clip.read_config(tmp_path, _Outline({}))
    assert found.whole.to_dict() == told.whole.to_dict()
    assert found.text.num_attention_heads == found.vision.num_attention_heads == 16


class _Outline:
    """Weights of which only names and shapes are known."""

    origin = "outline"

    def __init__(self, shapes: Mapping[str, Sequence[int]]) -> None:
        self.shapes = shapes

    def outline(self) -> Iterator[tuple[str, torch.Tensor]]:
        for name, shape in self.shapes.items():
            yield name, torch.empty(tuple(shape), device="meta")

    __iter__ = outline


def test_tower_of_unusual_width_needs_its_config(tmp_path: Path) -> None:
    folder = checkpoint("hpsv2-tiny", tmp_path)
    (folder / "open_clip_config.json").unlink()
    with pytest.raises(BadCheckpoint, match=r"show their heads; put open_clip_config\.json"):
        _hpsv2(folder)


def test_every_tensor_of_open_clip_gets_a_place_of_its_own() -> None:
    names = tensors(DATA / "hpsv2-tiny")
    places = [target for name in names for target, _ in open_clip.where(name)]
    assert len(places) == len(set(places))
    config = open_clip.read_config(DATA / "hpsv2-tiny", _Outline({}))
    with torch.device("meta"):
        assert set(places) == set(CLIPModel(config.whole).state_dict())


def _wrong_tensors(state: dict[str, torch.Tensor], first: str) -> dict[str, torch.Tensor]:
    kept = dict(state)
    kept.pop(max(name for name in state if "bias" in name))
    return kept | {"odd.one": torch.zeros(1), first: torch.zeros(3, 5)}


@pytest.mark.parametrize(
    ("name", "part", "first"),
    [
        ("ict-tiny", "", "visual_projection.weight"),
        ("hp-tiny", "hp_backbone", "visual_projection.weight"),
        ("hp-tiny", "hp_scorer", "layers.2.weight"),
        ("hpsv2-tiny", "", "transformer.resblocks.1.attn.in_proj_weight"),
        ("hpsv2-tiny", "", "text_projection"),
    ],
)
def test_tensors_that_do_not_fit_are_listed(
    name: str, part: str, first: str, tmp_path: Path
) -> None:
    folder = checkpoint(name, tmp_path)
    state = load_file(folder / part / "model.safetensors")
    save_file(_wrong_tensors(state, first), folder / part / "model.safetensors")
    loads: dict[str, Any] = {"ict-tiny": _ict, "hp-tiny": _hp, "hpsv2-tiny": _hpsv2}
    with pytest.raises(BadCheckpoint) as refused:
        loads[name](folder)
    told = str(refused.value)
    for words in ("missing (", "1 unexpected (odd.one)", "of another shape (", str(folder)):
        assert words in told


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model_type": "siglip"}, "says the model is a siglip"),
        ({"vision_config": {"image_size": [84, 70]}}, "must be one number each"),
        ({"vision_config": {"hidden_size": "wide"}}, "is no config of a CLIP"),
        ({"text_config": {"num_attention_heads": 5}}, "is no config of a CLIP"),
    ],
    ids=["kind", "oblong", "type", "heads"],
)
def test_config_of_something_else_is_refused(
    change: dict[str, Any], words: str, tmp_path: Path
) -> None:
    folder = checkpoint("ict-tiny", tmp_path)
    config = json.loads((folder / "config.json").read_text())
    for key, value in change.items():
        config[key] = config[key] | value if isinstance(value, dict) else value
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(BadCheckpoint) as refused:
        _ict(folder)
    assert words in str(refused.value)
    assert "config.json" in str(refused.value)


def test_head_of_several_numbers_is_not_hp(tmp_path: Path) -> None:
    folder = checkpoint("hp-tiny", tmp_path)
    file = folder / "hp_scorer" / "model.safetensors"
    save_file(load_file(file) | {"layers.7.weight": torch.zeros(2, 16)}, file)
    with pytest.raises(BadCheckpoint, match="gives 2 numbers, HP is one"):
        _hp(folder)
