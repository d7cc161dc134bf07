"""CLIP: a tower for pictures and one for text (Radford et al., arXiv 2103.00020).

The networks are transformers' modules, built from a checkpoint's config and filled from its file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPTextConfig,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

from vqa.errors import BadCheckpoint
from vqa.models.clip_pixels import Framing
from vqa.models.clip_text import Prompts, Way
from vqa.models.fit import read_json
from vqa.models.hub import companion
from vqa.models.weights import Place, Weights, Where, as_named, fill, open_weights

# ICT, HP, PickScore and HPSv2 were tuned from it.
VIT_H = "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"
PICKLES = ("pytorch_model.bin",)
OLD_BUFFERS = ("position_ids",)  # int64, in files that were written before transformers 4.31
# Kept in float32: its exponential is a factor of about 100.
WIDE = ("logit_scale",)

Pixels: TypeAlias = Callable[[Sequence[Image.Image]], Tensor]


@dataclass(frozen=True, eq=False)
class Config:
    """What a config says of a CLIP, and of its towers; pictures are squares of `image_size`."""

    whole: CLIPConfig
    text: CLIPTextConfig
    vision: CLIPVisionConfig
    image_size: int


@dataclass(frozen=True, eq=False)
class Towers:
    """A whole CLIP: compares pictures with texts.

    pixels -- makes pictures (N, 3, H, W). prompts -- makes texts ids (N, L).
    """

    network: CLIPModel
    pixels: Pixels
    prompts: Prompts

    @torch.inference_mode()
    def cosines(self, pairs: Sequence[tuple[Image.Image, str]]) -> list[float]:
        """Cosine between each picture and its text, -1 to 1."""
        seen = image_features(self.network, self.pixels([image for image, _ in pairs]))
        texts = list(dict.fromkeys(text for _, text in pairs))  # frames of a clip share theirs
        read = self.text_features(texts)[[texts.index(text) for _, text in pairs]]
        found: list[float] = (F.normalize(seen) * F.normalize(read)).sum(-1).tolist()
        return found

    @torch.inference_mode()
    def text_features(self, texts: Sequence[str]) -> Tensor:
        """Projected features of texts, (N, projection) float32, not normalised."""
        ids = self.prompts.ids(texts).to(self.network.logit_scale.device)
        pooled = self.network.text_model(input_ids=ids).pooler_output
        projected: Tensor = self.network.text_projection(pooled)
        return projected.float()

    @property
    def scale(self) -> float:
        """What cosines were multiplied by in training, exp(logit_scale)."""
        return float(self.network.logit_scale.exp())


@torch.inference_mode()
def image_features(network: CLIPModel | CLIPVisionModelWithProjection, pixels: Tensor) -> Tensor:
    """Pixels (N, 3, H, W) -> projected features (N, projection) float32, not normalised."""
    weight = network.visual_projection.weight
    pooled = network.vision_model(pixel_values=pixels.to(weight.device, weight.dtype)).pooler_output
    projected: Tensor = network.visual_projection(pooled)
    return projected.float()


def load_towers(folder: Path, way: Way, *, device: torch.device, dtype: torch.dtype) -> Towers:
    """Load a CLIPModel of transformers: model.safetensors or pytorch_model.bin, and config.json.

    way -- how texts become ids. A config.json that is not there is that of CLIP-ViT-H-14, from the
    hub. Raises MissingCheckpoint, BadCheckpoint.
    """
    config = read_config(folder)
    weights = open_weights(folder, pickles=PICKLES)
    pixels = Framing.read(folder, size=config.image_size)
    return towers(config, weights, _as_named, pixels, way, folder, device=device, dtype=dtype)


def towers(
    config: Config,
    weights: Weights,
    where: Where,
    pixels: Pixels,
    way: Way,
    folder: Path,
    *,
    device: torch.device,
    dtype: torch.dtype,
) -> Towers:
    """Fill both towers from weights of any names; the vocabulary lies in the folder."""
    prompts = way(folder, config.text.max_position_embeddings, config.text.vocab_size)
    with torch.device("meta"):
        network = CLIPModel(config.whole)
    fill(network, weights, where, device=device, dtype=dtype, wide=WIDE)
    _number_positions(network, device)
    # Configs older than transformers 4.31 name a wrong end token.
    network.text_model.eos_token_id = prompts.end
    return Towers(network, pixels, prompts)


def load_vision(
    folder: Path, config: Config, *, device: torch.device, dtype: torch.dtype
) -> CLIPVisionModelWithProjection:
    """Load the picture tower alone of a whole CLIPModel; files and errors as in `load_towers`."""
    with torch.device("meta"):
        network = CLIPVisionModelWithProjection(config.vision)
    weights = open_weights(folder, pickles=PICKLES)
    fill(network, weights, _pictures_only, device=device, dtype=dtype)
    _number_positions(network, device)
    return network


def read_config(folder: Path) -> Config:
    """Read config.json, that of CLIP-ViT-H-14 if the folder has none. Raises BadCheckpoint."""
    file = companion(folder, "config.json", repo=VIT_H)
    return config_of(file, read_json(file.parent, file.name, "it is published with the weights"))


def config_of(origin: Path, said: dict[str, Any]) -> Config:
    """Check and take over what a config says, in transformers' words. Raises BadCheckpoint."""
    if said.get("model_type", "clip") != "clip":
        raise BadCheckpoint(
            f"{origin}: says the model is a {said['model_type']}; here goes a CLIPModel, model_type"
            " clip"
        )
    try:
        whole = CLIPConfig.from_dict(said)
    except Exception as error:  # the library's checks raise kinds of their own
        raise BadCheckpoint(f"{origin}: is no config of a CLIP ({error})") from None
    text, vision = whole.text_config, whole.vision_config
    size = getattr(vision, "image_size", None)
    if not isinstance(text, CLIPTextConfig) or not isinstance(vision, CLIPVisionConfig):
        raise BadCheckpoint(f"{origin}: is no config of a CLIP (it lacks one of two towers)")
    if not isinstance(size, int) or not isinstance(whole.projection_dim, int):
        raise BadCheckpoint(f"{origin}: image_size and projection_dim must be one number each")
    vision.projection_dim = whole.projection_dim  # old configs repeat a default in there
    return Config(whole, text, vision, size)


def number(value: Tensor) -> Tensor:
    """A number that some files hold as a list of one, logit_scale, as a number."""
    return value.reshape(()) if value.numel() == 1 else value


def _as_named(name: str) -> Sequence[Place]:
    if name == "logit_scale":
        return ((name, number),)
    return as_named(ignore=OLD_BUFFERS)(name)


def _pictures_only(name: str) -> Sequence[Place]:
    if name.startswith(("text_model.", "text_projection.", "logit_scale")):
        return ()
    return _as_named(name)


def _number_positions(network: nn.Module, device: torch.device) -> None:
    """Make the buffers that no checkpoint needs to hold."""
    for module in network.modules():
        numbers = module._buffers.get("position_ids")
        if numbers is not None:
            module._buffers["position_ids"] = torch.arange(numbers.shape[-1], device=device)[None]
