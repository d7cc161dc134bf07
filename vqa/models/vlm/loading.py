"""Loads a model that transformers has the code of. Code that a checkpoint brings is never run."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING

from vqa.errors import BadCheckpoint, MissingCheckpoint, NotAvailable
from vqa.models.hub import resolve
from vqa.models.placement import one_device
from vqa.models.quiet import quiet

_library: Any = transformers  # half of it has types, and those differ from release to release
_LISTED = 8  # tensors named in a message


@dataclass(frozen=True, eq=False)
class Loaded:
    """A model in evaluation mode, where its input goes, and the folder it came from."""

    model: Any
    device: torch.device
    folder: Path


def load_model(
    checkpoint: str | os.PathLike[str], *, device: str = "auto", dtype: str = "auto"
) -> Loaded:
    """Load a folder or hub id with safetensors.

    device -- "auto" spreads the model over all cards (accelerate's device_map), and takes the CPU
    where there is none. dtype -- "auto" is bfloat16.

    Raises MissingCheckpoint, NoSpace; BadCheckpoint for files that do not fit the model;
    NotAvailable for a model whose code transformers does not have or that is of another kind;
    BadArgument for a device or dtype.
    """
    if int(transformers.__version__.partition(".")[0]) < 5:
        raise NotAvailable(f"a VLM needs transformers 5, and this is {transformers.__version__}")
    where, kind = one_device(device, dtype)
    folder = resolve(checkpoint)
    config = _config(folder)
    spread = device == "auto" and where.type == "cuda"
    with _silently():
        model, found = _weights(folder, config, kind, "auto" if spread else {"": str(where)})
    _check(folder, found)
    return Loaded(model.eval(), model.device if spread else where, folder)


def _config(folder: Path) -> Any:
    path = folder / "config.json"
    if not path.is_file():
        raise MissingCheckpoint(f"{folder}: holds no config.json; give the folder of a checkpoint")
    try:
        kind = json.loads(path.read_text(encoding="utf-8")).get("model_type")
    except (ValueError, AttributeError) as error:
        raise BadCheckpoint(f"{path}: is no JSON object ({error})") from None
    try:
        config = _library.AutoConfig.from_pretrained(folder, local_files_only=True)
    except (ValueError, KeyError) as error:
        raise NotAvailable(
            f"{folder}: transformers {transformers.__version__} cannot read a model of type"
            f" {kind!r} ({_first_line(error)}); code in a checkpoint is not run, so give a"
            " model that transformers has, or a newer transformers"
        ) from None
    if type(config) not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING or config.is_encoder_decoder:
        raise NotAvailable(
            f"{folder}: a model of type {kind!r} does not go on from pictures and text; give one"
            " such as Qwen2.5-VL, Qwen3-VL, SmolVLM2 or InternVL (cogvlm2 is a judge of its own)"
        )
    return config


def _weights(
    folder: Path, config: Any, dtype: torch.dtype, device_map: str | dict[str, str]
) -> tuple[Any, dict[str, Any]]:
    try:
        model, found = _library.AutoModelForImageTextToText.from_pretrained(
            folder,
            config=config,
            dtype=dtype,
            device_map=device_map,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # `_check` refuses them by name
        )
    except ImportError as error:
        raise NotAvailable(f"{folder}: {_first_line(error)}") from None
    except (OSError, ValueError, RuntimeError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        raise BadCheckpoint(f"{folder}: cannot be loaded ({_first_line(error)})") from None
    return model, found


def _check(folder: Path, found: dict[str, Any]) -> None:
    """Refuse what transformers would fill with random numbers."""
    missing = sorted(map(str, found["missing_keys"]))
    wrong = sorted(str(entry[0]) for entry in found["mismatched_keys"])
    for what, names in (("lacks", missing), ("has another shape for", wrong)):
        if names:
            more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
            listed = ", ".join(names[:_LISTED])
            raise BadCheckpoint(f"{folder}: {what} {listed}{more}; fetch the checkpoint again")


@contextmanager
def _silently() -> Iterator[None]:
    """Keep transformers from telling what `_check` tells, and from drawing bars into a pipe."""
    bars = _library.utils.logging
    shown = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()
    try:
        with quiet("transformers"):
            yield
    finally:
        if shown:
            bars.enable_progress_bar()


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
