"""ICT: how much of the prompt a picture shows (Ba et al., arXiv 2507.19002, with HP in `hp`).

A CLIP-ViT-H-14 tuned so that a picture does not lose for showing more than the prompt asked. The
score is the plain cosine of picture and prompt, no factor, no cut at 0: -1 to 1, higher is better.
Values are not comparable with those of an untuned CLIP.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from PIL import Image

from vqa.models.clip import Towers, load_towers
from vqa.models.clip_text import openai_prompts


@dataclass(frozen=True, eq=False)
class ICT:
    """Rates pictures for prompts; a prompt is cut off after 77 tokens."""

    towers: Towers
    needs_prompt: bool = field(default=True, init=False)

    def rate_images(self, pairs: Sequence[tuple[Image.Image, str]]) -> list[float]:
        """Cosines of pictures and their prompts."""
        return self.towers.cosines(pairs)


def load(folders: Mapping[str, Path], *, device: torch.device, dtype: torch.dtype) -> ICT:
    """Load pytorch_model.bin or model.safetensors, names of CLIPModel, from folders["ict"].

    What the published folder lacks comes from the hub: config.json of CLIP-ViT-H-14, and the
    vocabulary. The text is tokenised in OpenAI's way, as HPSv2 does. Raises MissingCheckpoint,
    BadCheckpoint.
    """
    return ICT(load_towers(folders["ict"], openai_prompts, device=device, dtype=dtype))
