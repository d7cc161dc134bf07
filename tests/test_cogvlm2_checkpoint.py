"""Checkpoints of CogVLM2: made from the golden recipe, loaded, broken, and taken for another."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.golden import IMAGE, VIDEO, materialise, tensors
from tests.local_hub import serving
from vqa.errors import BadArgument, BadCheckpoint, MissingCheckpoint
from vqa.models.cogvlm2.checkpoint import Loaded, check, load_model
from vqa.models.cogvlm2.engine import Engine, Look
from vqa.models.cogvlm2.prompt import Prompts


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return materialise(VIDEO, tmp_path_factory.mktemp("video"), shards=5, dtype=torch.bfloat16)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return materialise(IMAGE, tmp_path_factory.mktemp("image"))


@pytest.fixture
def copy(video: Path, tmp_path: Path) -> Path:
    """A checkpoint to break; its files are links, so replace them and do not write into them."""
    return Path(shutil.copytree(video, tmp_path / "copy", copy_function=os.link))


def test_model_has_exactly_the_weights_of_the_checkpoint(image: Path) -> None:
    loaded = load_model(image, device="cpu", dtype="float32")
    state = loaded.model.state_dict()
    assert state.keys() == tensors(IMAGE).keys()
    assert all(torch.equal(state[name], value) for name, value in tensors(IMAGE).items())
    assert (loaded.folder, loaded.device, loaded.dtype) == (
        image,
        torch.device("cpu"),
        torch.float32,
    )


def test_dtype_is_bfloat16_unless_told_and_rotary_buffers_follow(image: Path) -> None:
    loaded = load_model(image, device="cpu")
    assert {value.dtype for value in loaded.model.state_dict().values()} == {torch.bfloat16}
    assert (
        loaded.model.get_buffer("model.layers.0.self_attn.rotary_emb.inv_freq").dtype
        == torch.bfloat16
    )


@pytest.mark.parametrize("how", ["int8", "int4"])
def test_quantised_model_takes_the_bytes_that_were_counted(video: Path, how: str) -> None:
    pytest.importorskip("bitsandbytes")
    loaded = load_model(video, device="cpu", quantize=how)
    tensors = (*loaded.model.parameters(), *loaded.model.buffers())
    stored = sum(tensor.nbytes for tensor in tensors)
    # int4 keeps its scales beside its tensors: a byte for 64 weights, and 1 kB of tables a layer
    assert stored <= loaded.placement.bytes < 1.02 * stored
    assert type(loaded.model.lm_head) is torch.nn.Linear


@pytest.mark.parametrize("limit", ["98.70MB", "98.85MB"])  # half the layers, or half the tower
def test_judging_is_the_same_with_layers_left_on_disk(video: Path, limit: str) -> None:
    near = load_model(video, device="cpu", dtype="float32")
    far = load_model(video, dtype="float32", max_memory={"cpu": limit})
    homes = {name: far.placement.home(name) for name in far.model.state_dict()}
    assert homes["lm_head.weight"] == "cpu"
    assert homes["model.vision.conv.weight"] == "disk"
    assert homes["model.layers.0.input_layernorm.weight"] == "cpu"
    look = Look(torch.rand(2, 3, 224, 224), ["Is it sharp?", "Is the camera steady?\n"])
    answers = [_engine(loaded).read([look]) for loaded in (near, far)]
    assert answers[0] == answers[1]


def _engine(loaded: Loaded) -> Engine:
    prompts = Prompts.load(loaded.folder, loaded.model.config)
    return Engine.of(loaded.model, prompts, device=loaded.device)


def refusal(folder: Path) -> str:
    with pytest.raises(BadCheckpoint) as refused:
        load_model(folder, device="cpu")
    return str(refused.value)


def test_truncated_shard_is_named(copy: Path) -> None:
    shard = copy / "model-00003-of-00005.safetensors"
    whole = shard.read_bytes()
    shard.unlink()
    shard.write_bytes(whole[: len(whole) // 2])
    told = refusal(copy)
    assert (
        f"{shard.name}: cut off: {len(whole) // 2} bytes where its header tells {len(whole)}"
        in told
    )


def test_weights_of_the_other_model_are_listed(copy: Path, image: Path) -> None:
    for name in ("config.json", "tokenizer.json"):
        (copy / name).unlink()
        shutil.copy(image / name, copy / name)
    told = refusal(copy)
    assert "vision_expert_query_key_value.weight" in told
    assert "1 of another shape (model.vision.patch_embedding.position_embedding.weight: " in told
    assert "weights and config of two models?" in told


def test_missing_tokenizer_is_named_with_its_source(copy: Path) -> None:
    (copy / "tokenizer.json").unlink()
    assert "tokenizer.json is missing; it is published beside the weights" in refusal(copy)


def test_missing_config_is_named(copy: Path) -> None:
    (copy / "config.json").unlink()
    assert "config.json is missing" in refusal(copy)


def test_swiss_army_checkpoint_says_to_convert_it(tmp_path: Path) -> None:
    (tmp_path / "ckpts").mkdir()
    (tmp_path / "ckpts" / "split_part_aa").write_bytes(b"tar")
    assert "run `vqa convert`" in refusal(tmp_path)


def test_bad_quantize_is_refused_before_the_checkpoint_is_looked_for() -> None:
    with pytest.raises(BadArgument, match="must be 'int8', 'int4' or None, not 'int2'"):
        load_model("nowhere", quantize="int2")


def test_missing_folder_is_missing() -> None:
    with pytest.raises(MissingCheckpoint, match="no such folder"):
        load_model("./nowhere")


CODE = """
import sys
from vqa.models.cogvlm2.checkpoint import NEEDS, check, resolve
config, found = check(resolve("org/tiny", needs=tuple(NEEDS)))
print(config.experts, len(found.entries), "torch" in sys.modules)
"""


def test_hub_id_is_fetched_and_checked_without_torch(video: Path, tmp_path: Path) -> None:
    with serving("org/tiny", video) as hub:
        env = {**os.environ, "HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path)}
        command = [sys.executable, "-c", CODE]
        run = subprocess.run(command, env=env, capture_output=True, text=True)
    assert run.stdout.split() == ["False", str(len(tensors(VIDEO))), "False"], run.stderr


def test_every_published_tensor_is_expected(video: Path) -> None:
    config, found = check(video)
    assert config.shapes() == {name: entry.shape for name, entry in found.entries.items()}
