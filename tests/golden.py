"""Small random-weight models in the real checkpoint format, made from a recipe, and what the
reference implementation says about them (data/cogvlm2-*-tiny)."""

from __future__ import annotations

import hashlib
import json
import shutil
import zlib
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from safetensors.torch import save_file

DATA = Path(__file__).parent / "data"
VIDEO, IMAGE = "cogvlm2-video-tiny", "cogvlm2-image-tiny"


@lru_cache
def golden(name: str) -> dict[str, Any]:
    """What the reference said: ids, positions, features, logits."""
    found: dict[str, Any] = json.loads((DATA / name / "expected.json").read_text())
    return found


def medium(name: str, key: str) -> npt.NDArray[np.uint8]:
    """The frames (T, H, W, 3) of a clip, or the one picture as (1, H, W, 3)."""
    file = DATA / name / golden(name)["media"][key]["file"]
    if file.suffix == ".npz":
        frames: npt.NDArray[np.uint8] = np.load(file)["frames"]
        return frames
    return np.array(Image.open(file).convert("RGB"))[None]


@lru_cache
def tensors(name: str) -> dict[str, torch.Tensor]:
    """The weights of the recipe in float32, every checksum verified."""
    recipe = json.loads((DATA / name / "weights.json").read_text())
    return {entry["name"]: _tensor(entry, recipe["seed"]) for entry in recipe["tensors"]}


def _tensor(entry: dict[str, Any], seed: int) -> torch.Tensor:
    if "values" in entry:
        array = np.array(entry["values"], np.float32).reshape(entry["shape"])
    else:
        rng = np.random.default_rng((zlib.crc32(entry["name"].encode()) ^ seed) & 0xFFFFFFFF)
        array = rng.standard_normal(entry["shape"]).astype(np.float32) * np.float32(entry["std"])
        if entry.get("mean"):
            array = array + np.float32(entry["mean"])
        for row, factor in (entry.get("row_scale") or {}).items():
            array[int(row)] *= np.float32(factor)
    assert hashlib.sha256(array.tobytes()).hexdigest() == entry["sha256_f32_le"], entry["name"]
    return torch.from_numpy(array)


def materialise(
    name: str, folder: Path, *, shards: int = 1, dtype: torch.dtype = torch.float32
) -> Path:
    """Write the checkpoint `name` into a folder, as one file or as shards with an index."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(DATA / name / file, folder / file)
    state = {key: tensor.to(dtype) for key, tensor in tensors(name).items()}
    if shards == 1:
        save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
        return folder
    names = sorted(state)
    index: dict[str, str] = {}
    for number in range(shards):
        file = f"model-{number + 1:05d}-of-{shards:05d}.safetensors"
        part = {key: state[key] for key in names[number::shards]}
        save_file(part, folder / file, metadata={"format": "pt"})
        index |= dict.fromkeys(part, file)
    total = sum(tensor.nbytes for tensor in state.values())
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {"total_size": total}, "weight_map": index})
    )
    return folder
