"""HP: how well people like a picture, whatever its prompt (Ba et al., arXiv 2507.19002).

The picture tower of a CLIP-ViT-H-14, five linear layers with nothing between them on its projected
feature, which is not normalised, and a sigmoid: 0 to 1, higher is better.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn
from transformers import CLIPVisionModelWithProjection

from vqa.errors import BadCheckpoint
from vqa.models.clip import image_features, load_vision, read_config
from vqa.models.clip_pixels import FILE, Framing
from vqa.models.weights import Weights, as_named, fill, open_weights

LAYERS = ("0", "2", "4", "6", "7")  # dropout stood between them


class Head(nn.Module):
    """Linear layers with the names and numbers of the checkpoint; the last gives one number."""

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        pairs = zip(LAYERS, sizes[:-1], sizes[1:], strict=True)
        self.layers = nn.ModuleDict({n: nn.Linear(wide, out) for n, wide, out in pairs})

    def forward(self, features: Tensor) -> Tensor:
        """Features (N, projection) -> (N,) before the sigmoid."""
        for layer in self.layers.values():
            features = layer(features)
        return features[:, 0]


@dataclass(frozen=True, eq=False)
class HP:
    """Rates pictures; a prompt makes no difference."""

    network: CLIPVisionModelWithProjection
    head: Head
    framing: Framing
    needs_prompt: bool = field(default=False, init=False)

    @torch.inference_mode()
    def rate_images(self, pairs: Sequence[tuple[Image.Image, str]]) -> list[float]:
        """Probabilities, as it were, that people like the pictures."""
        pixels = self.framing([image for image, _ in pairs])
        found: list[float] = self.head(image_features(self.network, pixels)).sigmoid().tolist()
        return found


def load(folders: Mapping[str, Path], *, device: torch.device, dtype: torch.dtype) -> HP:
    """Load hp_backbone (a whole CLIPModel) and hp_scorer from folders["hp"].

    The files are hp_backbone/pytorch_model.bin and hp_scorer/mlp_pytorch_model.bin, or a
    model.safetensors in each folder; a config.json that is not there is that of CLIP-ViT-H-14, from
    the hub. The head computes in float32 whatever `dtype` says: it is small, and as five factors it
    multiplies what rounding does. Raises MissingCheckpoint, BadCheckpoint.
    """
    folder = folders["hp"]
    backbone = folder / "hp_backbone"
    config = read_config(backbone)
    network = load_vision(backbone, config, device=device, dtype=dtype)
    beside = folder if (folder / FILE).exists() else backbone
    framing = Framing.read(beside, size=config.image_size)
    weights = open_weights(folder / "hp_scorer", pickles=("mlp_pytorch_model.bin",))
    with torch.device("meta"):
        head = Head((config.vision.projection_dim, *_widths(weights)))
    fill(head, weights, as_named(), device=device, dtype=torch.float32)
    return HP(network, head, framing)


def _widths(weights: Weights) -> list[int]:
    """What each layer of the head gives; one that is missing is told when it is filled."""
    shapes = {name: tuple(value.shape) for name, value in weights.outline()}
    widths = [(shapes.get(f"layers.{number}.weight") or (1,))[0] for number in LAYERS]
    if widths[-1] != 1:
        raise BadCheckpoint(
            f"{weights.origin}: its last layer gives {widths[-1]} numbers, HP is one; is it the"
            " scorer of another model?"
        )
    return widths
