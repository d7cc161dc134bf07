"""Which form of a model a machine can hold: counted, and said in a line.

A card of "40 GB" has 42.3e9 bytes for programs, one of 24 GB 25.3e9, one of 16 GB 16.8e9, one of
12 GB 12.5e9: the numbers here are bytes, and GB stands for 1e9 of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from vqa.models.cogvlm2.config import Config, VisionConfig
from vqa.models.cogvlm2.memory import OVERHEAD, Task, offload_bytes, peak_bytes
from vqa.models.machine import Machine
from vqa.models.sizes import Quantize

Form: TypeAlias = Literal["bfloat16", "int8", "int4", "offload"]

# The checkpoints of VisionReward and their sizes: config.json of VisionReward-Video, and of
# cogvlm2-llama3-chat-19B, whose network VisionReward-Image has.
PUBLISHED: Mapping[str, Config] = {
    "visionreward-video": Config(experts=False),
    "visionreward-image": Config(
        experts=True, eos_token_ids=(128001, 128009), vision=VisionConfig(image_size=1344)
    ),
}

QUANTIZE: Mapping[Form, Quantize | None] = {"bfloat16": None, "int8": "int8", "int4": "int4"}


@dataclass(frozen=True, slots=True)
class Row:
    """What `vqa models` says about a model: bytes of each form at its peak, and what fits here."""

    name: str
    peaks: Mapping[Form, int]
    fits: Form | None
    why: str


def fits(config: Config, memory: int, *, task: Task | None = None) -> Form | None:
    """Give the most exact form that so many bytes of a card hold, or None.

    "offload" stands for bfloat16 of which the card holds a module at a time at least, and the CPU's
    memory the rest.
    """
    peaks = _peaks(config, task)
    return next((form for form, peak in peaks.items() if peak <= memory), None)


def rows(machine: Machine, *, models: Mapping[str, Config] = PUBLISHED) -> list[Row]:
    """Give a row per model: peaks of its forms, and which of them this machine can run."""
    return [_row(name, config, machine) for name, config in models.items()]


def _peaks(config: Config, task: Task | None = None) -> dict[Form, int]:
    peaks: dict[Form, int] = {
        form: peak_bytes(config, quantize=quantize, task=task)
        for form, quantize in QUANTIZE.items()
    }
    return peaks | {"offload": offload_bytes(config, task=task)}


def _row(name: str, config: Config, machine: Machine) -> Row:
    peaks, ram = _peaks(config), machine.ram or 0
    form = fits(config, _on_cards(machine) if machine.cards else ram)
    if form == "offload" and not (machine.cards and _on_cards(machine) + ram >= peaks["bfloat16"]):
        form = None
    return Row(name, peaks, form, _why(form, peaks, machine))


def _on_cards(machine: Machine) -> int:
    """What all cards hold together; the overhead of the first is counted with the model."""
    return sum(card.free for card in machine.cards) - OVERHEAD * (len(machine.cards) - 1)


def _why(form: Form | None, peaks: Mapping[Form, int], machine: Machine) -> str:
    on_cards, ram = " + ".join(_gb(card.free) for card in machine.cards), _gb(machine.ram)
    if not machine.cards:
        have, slow = f"no GPU, {ram} free on CPU", ", slowly"
    else:
        have, slow = f"{on_cards} free on GPU", ""
    if form == "offload":
        return f"{have}, {ram} on CPU: the {_gb(peaks['bfloat16'])} of bfloat16 fit on both, slowly"
    if form:
        return f"{have}: {form} needs {_gb(peaks[form])}{slow}"
    both = f", {ram} on CPU" if machine.cards else ""
    return f"{have}{both}: int4 needs {_gb(peaks['int4'])} in one of them"


def _gb(size: int | None) -> str:
    return "unknown" if size is None else f"{size / 1e9:.1f} GB"
