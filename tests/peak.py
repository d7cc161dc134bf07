"""Run one packed pass of a mid-size random model; print its peak and the counted bytes as JSON.

    python -m tests.peak DTYPE QUANTIZE PICTURES

A process of its own, because a peak is that of a process. Large blocks must go back to the system
when freed: run it with MALLOC_MMAP_THRESHOLD_=65536.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from torch import nn

from vqa.models.cogvlm2.config import Config, VisionConfig
from vqa.models.cogvlm2.memory import is_quantised, working_bytes
from vqa.models.cogvlm2.model import CogVLM2
from vqa.models.cogvlm2.packing import Packer, Work
from vqa.models.cogvlm2.prompt import Tokens
from vqa.models.quantize import quantize_layers

QUESTIONS, LENGTH = 29, 30
SIZES = Config(
    experts=False,
    hidden_size=768,
    intermediate_size=2688,
    num_hidden_layers=3,
    num_attention_heads=4,
    num_multi_query_heads=2,
    vocab_size=100,
    vision=VisionConfig(hidden_size=256, num_hidden_layers=2, num_heads=4, intermediate_size=2194),
)


def random_model(config: Config, dtype: torch.dtype) -> CogVLM2:
    """A model whose weights are all drawn at random."""
    with torch.device("meta"):
        model = CogVLM2(config)
    model = model.to_empty(device="cpu").to(dtype).eval()
    for tensor in model.state_dict().values():
        nn.init.normal_(tensor, std=0.02)
    return model


def work(config: Config, pictures: int, questions: int) -> Work:
    """A clip of noise, and questions about it."""
    size, side = config.vision.tokens, config.vision.image_size
    ids = (1,) + ((2,) * size + (3,)) * pictures
    vision = (False,) + ((True,) * size + (False,)) * pictures
    tails = [Tokens.text([4] * LENGTH) for _ in range(questions)]
    return Work(torch.randn(pictures, 3, side, side), Tokens(ids, vision), tails)


def status(key: str) -> int:
    """A line of /proc/self/status in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:"))


def main(dtype: str, quantize: str, pictures: int) -> None:
    """Measure and count one pass."""
    model = random_model(SIZES, getattr(torch, dtype))
    how = None if quantize == "none" else quantize
    if how:
        quantize_layers(model, how, wanted=is_quantised)  # type: ignore[arg-type]
    packer = Packer(model, torch.device("cpu"), budget=10**6)
    clip = work(SIZES, pictures, QUESTIONS)
    packer.run([clip], lambda hidden: hidden)  # what libraries set up for these sizes stays
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
    before = status("VmRSS")
    packer.run([clip], lambda hidden: hidden)
    counted = working_bytes(
        SIZES,
        tokens=len(clip.head) + QUESTIONS * LENGTH,
        pictures=pictures,
        dtype=dtype,
        quantize=how,  # type: ignore[arg-type]
    )
    print(json.dumps({"measured": status("VmHWM") - before, "counted": counted}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
