"""HPSv2: how well people like a picture for its prompt (Wu et al., arXiv 2306.09341).

A tuned CLIP-ViT-H-14 in open_clip's layout; the score is the cosine, -1 to 1 and in practice 0.2 to
0.4, higher is better. Values of v2.0 and v2.1 are not comparable. The picture is scaled so that all
of it is seen, with black beside it, unlike CLIP's crop.

Whether scaling smooths first (antialias) was never stated: the code leaves it to torchvision, which
did not up to 0.16 and does since. Not smoothing is the default here, because the networks were
trained and the published leaderboard was made so; antialias=True gives what the same code gives
today.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from PIL import Image

from vqa.models import open_clip
from vqa.models.clip import Towers, towers
from vqa.models.clip_pixels import Padded
from vqa.models.clip_text import openai_prompts
from vqa.models.weights import open_weights

# The first that is there is loaded: the hub's folder has both, and v2.1 is the one to use.
FILES = ("HPS_v2.1_compressed.pt", "HPS_v2_compressed.pt")


@dataclass(frozen=True, eq=False)
class HPSv2:
    """Rates pictures for prompts; a prompt is cut off after 77 tokens."""

    towers: Towers
    needs_prompt: bool = field(default=True, init=False)

    def rate_images(self, pairs: Sequence[tuple[Image.Image, str]]) -> list[float]:
        """Cosines of pictures and their prompts."""
        return self.towers.cosines(pairs)


def load(
    folders: Mapping[str, Path],
    *,
    device: torch.device,
    dtype: torch.dtype,
    antialias: bool = False,
) -> HPSv2:
    """Load HPS_v2.1_compressed.pt or HPS_v2_compressed.pt from folders["hpsv2"].

    Of a folder with both v2.1 is taken: move it away for v2.0. Or the same tensors lie in
    model.safetensors. Sizes come from open_clip_config.json or the tensors, a vocabulary that is
    not there from the hub. antialias -- whether scaling smooths first, see above. Raises
    MissingCheckpoint, BadCheckpoint.
    """
    folder = folders["hpsv2"]
    weights = open_weights(folder, pickles=FILES, under="state_dict")
    config = open_clip.read_config(folder, weights)
    pixels = Padded(config.image_size, antialias)
    return HPSv2(
        towers(
            config,
            weights,
            open_clip.where,
            pixels,
            openai_prompts,
            folder,
            device=device,
            dtype=dtype,
        )
    )
