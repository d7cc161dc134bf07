"""From the name of a CogVLM2 checkpoint to a loaded model.

    folder or hub id -> folder -> headers and config.json agree -> place on devices -> stream in

Everything up to the last step takes well under a second, and without torch up to the last but one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from vqa.errors import BadArgument, BadCheckpoint
from vqa.models import fit, headers
from vqa.models.cogvlm2.config import Config
from vqa.models.cogvlm2.memory import is_quantised
from vqa.models.hub import resolve

if TYPE_CHECKING:
    import torch

    from vqa.models.cogvlm2.model import CogVLM2
    from vqa.models.placement import Placement
    from vqa.models.sizes import Quantize

NEEDS = {
    "config.json": "it is published beside the weights",
    "tokenizer.json": (
        "it is published beside the weights (of VisionReward-Image: take the one of"
        " zai-org/cogvlm2-llama3-chat-19B)"
    ),
}


@dataclass(frozen=True, eq=False)
class Loaded:
    """A model ready to run, where it came from, and where it is."""

    model: CogVLM2
    folder: Path
    placement: Placement

    @property
    def device(self) -> torch.device:
        """Where input goes."""
        return self.placement.device

    @property
    def dtype(self) -> torch.dtype:
        """What it computes in."""
        return self.placement.dtype


def check(folder: str | PathLike[str]) -> tuple[Config, headers.Headers]:
    """Check from headers alone that a folder holds a CogVLM2 that can be loaded; needs no torch.

    Raises MissingCheckpoint, or BadCheckpoint that says what is missing or wrong.
    """
    found = headers.read(folder)
    fit.check_files(found.folder, NEEDS)
    config = Config.read(folder)
    fit.check(found, config.shapes())
    return config, found


def load_model(
    checkpoint: str | PathLike[str],
    *,
    device: str = "auto",
    dtype: str = "auto",
    quantize: str | None = None,
    max_memory: Mapping[int | str, int | str] | None = None,
    kind: Literal["video", "image"] | None = None,
) -> Loaded:
    """Load a checkpoint, a folder or a hub id "org/name[@revision]", onto a device or several.

    device, dtype, max_memory -- see `vqa.models.placement.place`. quantize -- "int8" or "int4"
    stores the large matrices so. kind -- what it must be for, "video" or "image"; None takes both.

    Raises MissingCheckpoint, BadCheckpoint, NoSpace, OutOfMemory, NotAvailable, BadArgument.
    """
    how = _how(quantize)
    if how is not None:
        from vqa.models.quantize import check_installed

        check_installed()
    folder = resolve(checkpoint, needs=tuple(NEEDS))
    config, found = check(folder)
    _check_kind(folder, config, kind)
    return _load(folder, config, found, device=device, dtype=dtype, how=how, memory=max_memory)


def _load(
    folder: Path,
    config: Config,
    found: headers.Headers,
    *,
    device: str,
    dtype: str,
    how: Quantize | None,
    memory: Mapping[int | str, int | str] | None,
) -> Loaded:
    import torch
    from torch import nn

    from vqa.models.cogvlm2.model import CogVLM2
    from vqa.models.placement import place
    from vqa.models.streaming import load_into

    packed = {name for name, shape in config.shapes().items() if how and is_quantised(name, shape)}
    with torch.device("meta"):
        model = CogVLM2(config)
    placement = place(
        model,
        device=device,
        dtype=dtype,
        quantize=how,
        quantised=packed,
        max_memory=memory,
        whole=model._no_split_modules,
        resident=("lm_head",),
    )

    def pack(name: str, linear: nn.Linear) -> nn.Module:
        from vqa.models.quantize import quantize_linear

        return quantize_linear(linear, how) if how and f"{name}.weight" in packed else linear

    load_into(
        model, found, placement, transform=pack if how else None, whole=model._no_split_modules
    )
    return Loaded(model, folder, placement)


def _check_kind(folder: Path, config: Config, kind: str | None) -> None:
    is_for = "image" if config.experts else "video"
    if kind not in (None, is_for):
        raise BadCheckpoint(
            f"{folder}: is CogVLM2's {is_for} model, and the {kind} model is needed; use the scorer"
            f" visionreward-{is_for}, or another checkpoint"
        )


def _how(quantize: str | None) -> Quantize | None:
    if quantize is None or quantize == "int8" or quantize == "int4":
        return quantize  # type: ignore[return-value]
    raise BadArgument(f"quantize must be 'int8', 'int4' or None, not {quantize!r}")
