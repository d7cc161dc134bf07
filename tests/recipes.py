"""Checkpoints of the baselines, small and of random weights, made from the recipes under data/."""

from __future__ import annotations

import json
import shutil
import zlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

DATA = Path(__file__).parent / "data"
BESIDE = {".json", ".txt", ".model", ".gz"}
NOT_COPIED = {"weights.json", "expected.json", "README.md"}


@lru_cache
def expected(name: str) -> dict[str, Any]:
    """What the reference said."""
    found: dict[str, Any] = json.loads((DATA / name / "expected.json").read_text())
    return found


def inputs(name: str) -> dict[str, np.ndarray[Any, Any]]:
    """The pictures and clips, by name."""
    with np.load(DATA / name / "inputs.npz") as arrays:
        return dict(arrays)


def difference(found: torch.Tensor, told: dict[str, Any]) -> float:
    """How far a tensor is from the statistics of the reference's, at most."""
    assert list(found.shape) == told["shape"]
    flat = found.double().flatten()
    ends = torch.cat((flat[:8], flat[-8:])) - torch.tensor([*told["first8"], *told["last8"]])
    spread = float(flat.std(unbiased=False)) - told["std"]
    return float(max(abs(flat.mean() - told["mean"]), abs(spread), ends.abs().max()))


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    """The weights of one recipe, every checksum verified."""
    recipe = json.loads((folder / "weights.json").read_text())
    return {name: _tensor(name, entry, recipe["seed"]) for name, entry in _entries(recipe)}


def beside(name: str, folder: Path) -> Path:
    """Copy the configs and tokenizer files of a recipe, sub-folders included."""
    for file in (DATA / name).rglob("*"):
        if file.is_file() and file.suffix in BESIDE and file.name not in NOT_COPIED:
            target = folder / file.relative_to(DATA / name)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, target)
    return folder


def checkpoint(name: str, folder: Path, *, pickled: str | None = None) -> Path:
    """Write a whole checkpoint: as model.safetensors, or as a torch pickle called `pickled`."""
    beside(name, folder)
    for recipe in (DATA / name).rglob("weights.json"):
        target = folder / recipe.parent.relative_to(DATA / name)
        target.mkdir(parents=True, exist_ok=True)
        state = tensors(recipe.parent)
        if pickled is None:
            save_file(state, target / "model.safetensors", metadata={"format": "pt"})
        else:
            torch.save(state, target / pickled)
    return folder


def _entries(recipe: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    listed = recipe["tensors"]
    if isinstance(listed, dict):
        yield from listed.items()
    else:
        yield from ((entry["name"], entry) for entry in listed)


def _tensor(name: str, entry: dict[str, Any], seed: int) -> torch.Tensor:
    if "values" in entry:
        array = np.array(entry["values"], np.float32).reshape(entry["shape"])
    else:
        rng = np.random.default_rng((zlib.crc32(name.encode()) ^ seed) & 0xFFFFFFFF)
        drawn = np.asarray(rng.standard_normal(entry["shape"]), np.float32)
        array = drawn * np.float32(entry["std"]) + np.float32(entry.get("mean", 0.0))
    array = np.ascontiguousarray(array, np.float32).reshape(entry["shape"])
    assert zlib.crc32(array.tobytes()) == entry["crc32"], name
    return torch.from_numpy(array)
