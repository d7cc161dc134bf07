"""config.json of CogVLM2: what it says, what it must not say, and the tensors that follow."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.golden import IMAGE, VIDEO, tensors
from vqa.errors import BadCheckpoint, MissingCheckpoint
from vqa.models.cogvlm2.config import Config, VisionConfig
from vqa.models.cogvlm2.model import CogVLM2

FILES = {name: Path(__file__).parent / "data" / name / "config.json" for name in (VIDEO, IMAGE)}
PUBLISHED = {
    VIDEO: ("visionreward_video_config_json", "cogvlm2_video_tensors.json", 1029),
    IMAGE: ("cogvlm2_llama3_chat_19b_config_json", "cogvlm2_image_tensors.json", 1221),
}

counts = st.integers(1, 5)
towers = st.builds(
    lambda layers, heads, size, side, patch: VisionConfig(
        num_hidden_layers=layers,
        num_heads=heads,
        hidden_size=heads * size,
        intermediate_size=7 * size,
        image_size=2 * side * patch,
        patch_size=patch,
    ),
    *([counts] * 5),
)
configs = st.builds(
    lambda experts, layers, groups, heads, size, eos, tower: Config(
        experts=experts,
        num_hidden_layers=layers,
        num_multi_query_heads=groups,
        num_attention_heads=groups * heads,
        hidden_size=2 * size * groups * heads,
        intermediate_size=11 * size,
        vocab_size=17,
        eos_token_ids=tuple(eos),
        vision=tower,
    ),
    st.booleans(),
    *([counts] * 4),
    st.lists(st.integers(0, 10**6), min_size=1, max_size=3),
    towers,
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=4,
)


def _data(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(FILES[name].read_text())
    return found


@pytest.mark.parametrize("name", [VIDEO, IMAGE])
def test_every_tensor_of_a_checkpoint_is_known_by_name_and_shape(name: str) -> None:
    found = {key: tuple(value.shape) for key, value in tensors(name).items()}
    assert Config.read(FILES[name].parent).shapes() == found


@pytest.mark.parametrize("name", [VIDEO, IMAGE])
def test_published_checkpoints_have_these_tensors(name: str, shared: Path) -> None:
    key, file, count = PUBLISHED[name]
    folder = shared / "reference"
    config = Config.from_dict(json.loads((folder / "cogvlm2_configs.json").read_text())[key])
    listed = json.loads((folder / file).read_text())["tensors"]
    assert config.shapes() == {name: tuple(shape) for name, shape in listed.items()}
    assert len(listed) == count


@settings(deadline=None, max_examples=20)
@given(configs)
def test_module_has_the_tensors_of_any_config(config: Config) -> None:
    with torch.device("meta"):
        state = CogVLM2(config).state_dict()
    assert {key: tuple(value.shape) for key, value in state.items()} == config.shapes()


@settings(deadline=None, max_examples=50)
@given(configs)
def test_written_config_reads_back_equal(config: Config) -> None:
    assert Config.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_sizes_of_the_golden_models() -> None:
    video, image = (Config.read(file.parent) for file in FILES.values())
    assert (video.experts, image.experts) == (False, True)
    assert (video.head_size, video.kv_size, video.eos_token_ids) == (16, 32, (128001,))
    assert (video.vision.num_positions, video.vision.tokens) == (257, 66)
    assert (image.vision.num_positions, image.vision.tokens) == (65, 18)


def test_published_picture_sizes() -> None:
    assert (VisionConfig().num_positions, VisionConfig().tokens) == (257, 66)
    picture = VisionConfig(image_size=1344)
    assert (picture.num_positions, picture.tokens) == (9217, 2306)


def test_absent_sizes_are_the_published_ones() -> None:
    config = Config.from_dict({"architectures": ["CogVLMForCausalLM"], "vision_config": {}})
    assert config == Config(experts=True)
    assert (config.num_multi_query_heads, config.rms_norm_eps) == (8, 1e-5)
    assert config.vision.layer_norm_eps == 1e-6


@pytest.mark.parametrize(("eos", "ids"), [(7, (7,)), ([128001, 128009], (128001, 128009))])
def test_end_of_text_is_one_token_or_several(eos: object, ids: tuple[int, ...]) -> None:
    assert Config.from_dict(_data(VIDEO) | {"eos_token_id": eos}).eos_token_ids == ids


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architectures": ["LlamaForCausalLM"]}, "the model is LlamaForCausalLM; the CogVLM2"),
        ({"architectures": None}, "the model is of no architecture"),
        ({"architectures": 5}, "the model is 5"),
        ({"tie_word_embeddings": True}, "tie_word_embeddings must be false"),
        ({"hidden_size": "64"}, "hidden_size must be a number of type int, not '64'"),
        ({"hidden_size": 64.0}, "hidden_size must be a number of type int, not 64.0"),
        ({"hidden_size": True}, "hidden_size must be a number of type int, not True"),
        ({"hidden_size": -64}, "hidden_size must be a number of type int, not -64"),
        ({"hidden_size": 66}, "hidden_size must be a multiple of num_attention_heads"),
        ({"hidden_size": 60}, "the size of a head must be even"),
        ({"num_attention_heads": 0}, "num_attention_heads must be at least 1"),
        ({"num_multi_query_heads": 3}, "must be a multiple of num_multi_query_heads"),
        ({"hidden_act": "gelu"}, "hidden_act must be 'silu'"),
        ({"eos_token_id": "end"}, "eos_token_id must be a token id or a list of them, not 'end'"),
        ({"eos_token_id": []}, "eos_token_id must be a token id or a list of them"),
        ({"vision_config": None}, "vision_config must be there and be an object"),
    ],
)
def test_what_the_engine_cannot_run_is_told_by_its_rule(
    change: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadCheckpoint, match=message):
        Config.from_dict(_data(VIDEO) | change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_heads": 3}, "hidden_size must be a multiple of num_heads"),
        ({"patch_size": 0}, "patch_size must be at least 1"),
        ({"image_size": 210}, "image_size must be an even number of patches"),
        ({"num_positions": 256}, "num_positions must be 257"),
        ({"hidden_act": "gelu_new"}, "hidden_act must be 'gelu'"),
        ({"layer_norm_eps": "1e-6"}, "layer_norm_eps must be a number of type float"),
    ],
)
def test_a_tower_that_cannot_be_run_is_told_by_its_rule(
    change: dict[str, Any], message: str
) -> None:
    data = _data(VIDEO)
    data["vision_config"] |= change
    with pytest.raises(BadCheckpoint, match=message):
        Config.from_dict(data)


@pytest.mark.parametrize("data", [None, [], "config", 1])
def test_config_must_be_an_object(data: object) -> None:
    with pytest.raises(BadCheckpoint, match="must be a JSON object"):
        Config.from_dict(data)


@settings(deadline=None, max_examples=50)
@given(st.data())
def test_any_value_anywhere_is_taken_or_refused_and_never_an_accident(data: st.DataObject) -> None:
    found = copy.deepcopy(_data(data.draw(st.sampled_from([VIDEO, IMAGE]))))
    part = data.draw(st.sampled_from([found, found["vision_config"]]))
    part[data.draw(st.sampled_from(sorted(part)))] = data.draw(values)
    try:
        config = Config.from_dict(found)
    except BadCheckpoint:
        return
    assert Config.from_dict(config.to_dict()) == config


def test_errors_name_the_file(tmp_path: Path) -> None:
    with pytest.raises(MissingCheckpoint, match=r"holds no config\.json"):
        Config.read(tmp_path)
    file = tmp_path / "config.json"
    file.write_text("{")
    with pytest.raises(BadCheckpoint, match=r"config\.json: cannot be read as JSON"):
        Config.read(tmp_path)
    file.write_text(json.dumps(_data(VIDEO) | {"hidden_size": 66}))
    with pytest.raises(BadCheckpoint, match=r"config\.json: hidden_size must be a multiple"):
        Config.read(tmp_path)
