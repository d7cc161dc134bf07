"""CLIPScore: cosine of a picture and its prompt, by any CLIP (Hessel et al., arXiv 2104.08718).

The value is the cosine, -1 to 1, higher is better. The paper's 2.5 * max(cosine, 0) and the percent
of other tables stand in the scales; the "A photo depicts" that the paper puts before captions is
left out, as it is when pictures made from prompts are compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from PIL import Image

from vqa.models.clip import Towers, load_towers
from vqa.models.clip_text import hf_prompts
from vqa.scorers.base import Rating

WEIGHT = 2.5  # the paper's w, which spreads cosines of ViT-B/32 over 0 to 1


@dataclass(frozen=True, eq=False)
class CLIPScore:
    """Rates pictures for prompts; the scales are "cosine", "clipscore" and "percent"."""

    towers: Towers
    needs_prompt: bool = field(default=True, init=False)

    def rate_images(self, pairs: Sequence[tuple[Image.Image, str]]) -> list[Rating]:
        """Cosines of pictures and their prompts, on three scales."""
        return [
            Rating(
                cosine,
                scales={
                    "cosine": cosine,
                    "clipscore": WEIGHT * max(cosine, 0.0),
                    "percent": 100 * cosine,
                },
            )
            for cosine in self.towers.cosines(pairs)
        ]


def load(folders: Mapping[str, Path], *, device: torch.device, dtype: torch.dtype) -> CLIPScore:
    """Load any CLIPModel of transformers from folders["clipscore"].

    Its weights are model.safetensors or pytorch_model.bin; a vocabulary that is not there is
    OpenAI's. Raises MissingCheckpoint, BadCheckpoint.
    """
    return CLIPScore(load_towers(folders["clipscore"], hf_prompts, device=device, dtype=dtype))
