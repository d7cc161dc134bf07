"""ICT and HP together: whether a picture shows its prompt, and whether people like it.

    value = weight of ICT * ICT + weight of HP * HP

The authors print the two side by side (arXiv 2507.19002); half and half is the usual combination.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from PIL import Image

from vqa.errors import BadArgument
from vqa.scorers import hp, ict
from vqa.scorers.base import Rating

WEIGHTS: Mapping[str, float] = {"ict": 0.5, "hp": 0.5}


@dataclass(frozen=True, eq=False)
class ICTHP:
    """Rates pictures for prompts; the aspects are "ict" and "hp"."""

    ict: ict.ICT
    hp: hp.HP
    weights: Mapping[str, float]
    needs_prompt: bool = field(default=True, init=False)

    def rate_images(self, pairs: Sequence[tuple[Image.Image, str]]) -> list[Rating]:
        """Weighted sums with their parts."""
        parts = zip(self.ict.rate_images(pairs), self.hp.rate_images(pairs), strict=True)
        return [self._together({"ict": shown, "hp": liked}) for shown, liked in parts]

    def _together(self, aspects: Mapping[str, float]) -> Rating:
        return Rating(math.fsum(self.weights[name] * aspects[name] for name in aspects), aspects)


def load(
    folders: Mapping[str, Path],
    *,
    device: torch.device,
    dtype: torch.dtype,
    weights: Mapping[str, float] = WEIGHTS,
) -> ICTHP:
    """Load both, from folders["ict"] and folders["hp"], as `ict.load` and `hp.load` do.

    weights -- of both, by name; they need not sum to 1. Raises BadArgument and what those raise.
    """
    if weights.keys() != WEIGHTS.keys() or not all(map(_is_finite, weights.values())):
        raise BadArgument(
            "icthp: weights are two numbers by name, such as {'ict': 0.5, 'hp': 0.5}, not"
            f" {dict(weights)!r}"
        )
    return ICTHP(
        ict.load(folders, device=device, dtype=dtype),
        hp.load(folders, device=device, dtype=dtype),
        dict(weights),
    )


def _is_finite(weight: object) -> bool:
    return isinstance(weight, int | float) and math.isfinite(weight)
