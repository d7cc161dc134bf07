"""PickScore: which of several pictures people pick for a prompt (Kirstain et al., 2305.01569).

A tuned CLIP-ViT-H-14 whose cosine is multiplied by what it was in training, exp(logit_scale), about
100: higher is better, about 15 to 27. Only differences mean something: their softmax over the
candidates for one prompt is the probability that each is picked (`preferences`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from PIL import Image

from vqa.models.clip import Towers, load_towers
from vqa.models.clip_text import hf_prompts


@dataclass(frozen=True, eq=False)
class PickScore:
    """Rates pictures for prompts."""

    towers: Towers
    needs_prompt: bool = field(default=True, init=False)

    def rate_images(self, pairs: Sequence[tuple[Image.Image, str]]) -> list[float]:
        """Scaled cosines of pictures and their prompts."""
        return [self.towers.scale * cosine for cosine in self.towers.cosines(pairs)]


def load(folders: Mapping[str, Path], *, device: torch.device, dtype: torch.dtype) -> PickScore:
    """Load model.safetensors or pytorch_model.bin, a CLIPModel, from folders["pickscore"].

    A vocabulary that is not there is OpenAI's. Raises MissingCheckpoint, BadCheckpoint.
    """
    return PickScore(load_towers(folders["pickscore"], hf_prompts, device=device, dtype=dtype))


def preferences(values: Sequence[float | None]) -> list[float | None]:
    """Turn the values of candidates for one prompt into the probability that each is picked.

    A softmax (equation 2 of the paper); they sum to 1. A candidate without a value, because it
    could not be scored, has no probability and takes none from the others.
    """
    known = [value for value in values if value is not None]
    top = max(known, default=0.0)
    total = math.fsum(math.exp(value - top) for value in known)
    return [None if value is None else math.exp(value - top) / total for value in values]
