"""Checkpoints with the names of open_clip, for the networks of transformers.

The two differ in names, in the order of factors (open_clip's projections are transposed), and in
that open_clip keeps query, key and value in one tensor.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from vqa.errors import BadCheckpoint
from vqa.models.clip import Config, config_of, number
from vqa.models.fit import read_json
from vqa.models.weights import Place, Weights

FILE = "open_clip_config.json"
# Widths of heads cannot be seen in tensors. These are those of open_clip's ViT-B, -L and -H.
HEAD = 64
HEADS = {1280: 80}

_NAMES = {
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
}
_TRANSPOSED = {
    "visual.proj": "visual_projection.weight",
    "text_projection": "text_projection.weight",
}
_STARTS = {
    "visual.ln_pre.": "vision_model.pre_layrnorm.",
    "visual.ln_post.": "vision_model.post_layernorm.",
    "visual.transformer.resblocks.": "vision_model.encoder.layers.",
    "transformer.resblocks.": "text_model.encoder.layers.",
    "ln_final.": "text_model.final_layer_norm.",
}
_INSIDE = {
    ".ln_1.": ".layer_norm1.",
    ".ln_2.": ".layer_norm2.",
    ".attn.": ".self_attn.",
    ".mlp.c_fc.": ".mlp.fc1.",
    ".mlp.c_proj.": ".mlp.fc2.",
}
_JOINED = re.compile(r"(.*\.self_attn\.)in_proj_(weight|bias)")


def where(name: str) -> Sequence[Place]:
    """Give a tensor its place or places; unknown ones keep their name and are refused."""
    if name == "logit_scale":
        return ((name, number),)
    if name in _TRANSPOSED:
        return ((_TRANSPOSED[name], _transposed),)
    target = _renamed(name)
    joined = _JOINED.fullmatch(target)
    if joined is None:
        return ((target, _as_it_is),)
    before, leaf = joined.groups()
    return tuple((f"{before}{part}_proj.{leaf}", partial(_part, n)) for n, part in enumerate("qkv"))


def read_config(folder: Path, weights: Weights) -> Config:
    """Take the sizes from open_clip_config.json, or, where there is none, from the tensors.

    Then heads are as in open_clip's own models: 80 wide in a tower for pictures that is 1280 wide,
    which is that of ViT-H-14, and 64 in any other. Raises BadCheckpoint.
    """
    origin = folder / FILE
    if origin.exists():
        said = read_json(folder, FILE, "leave it out where the sizes are those of ViT-H-14")
        said = said.get("model_cfg", said)
    else:
        said = _sizes(weights)
    try:
        translated = _translated(said)
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise BadCheckpoint(f"{origin}: is no config of a ViT of open_clip ({error!r})") from None
    return config_of(origin, translated)


def _translated(said: Mapping[str, Any]) -> dict[str, Any]:
    """From open_clip's words to transformers'."""
    vision, text = said["vision_cfg"], said["text_cfg"]
    both = {"hidden_act": "quick_gelu" if said.get("quick_gelu") else "gelu"}
    return {
        "projection_dim": said["embed_dim"],
        "vision_config": both
        | _tower(vision, vision["width"] // vision.get("head_width", HEAD))
        | {"image_size": vision["image_size"], "patch_size": vision["patch_size"]},
        "text_config": both
        | _tower(text, text["heads"])
        | {
            "vocab_size": text["vocab_size"],
            "max_position_embeddings": text["context_length"],
            "bos_token_id": text["vocab_size"] - 2,
            "eos_token_id": text["vocab_size"] - 1,
        },
    }


def _tower(said: Mapping[str, Any], heads: int) -> dict[str, int]:
    return {
        "hidden_size": said["width"],
        "num_hidden_layers": said["layers"],
        "num_attention_heads": heads,
        # The ratio may be a quotient, whose product falls a hair short of the whole number.
        "intermediate_size": int(said["width"] * said.get("mlp_ratio", 4.0) + 1e-6),
    }


def _sizes(weights: Weights) -> dict[str, Any]:
    """What open_clip_config.json would say, as far as tensors tell."""
    shapes = {name: tuple(value.shape) for name, value in weights.outline()}
    try:
        width, _, patch, _ = shapes["visual.conv1.weight"]
        positions, _ = shapes["visual.positional_embedding"]
        words, text_width = shapes["token_embedding.weight"]
        length, _ = shapes["positional_embedding"]
        _, projection = shapes["visual.proj"]
        ratios = [
            shapes[f"{start}transformer.resblocks.0.mlp.c_fc.weight"][0] / across
            for start, across in (("visual.", width), ("", text_width))
        ]
    except (KeyError, ValueError):
        raise BadCheckpoint(
            f"{weights.origin}: holds no ViT with the names of open_clip; is it another model?"
        ) from None
    head = HEADS.get(width, HEAD)
    if width % head or text_width % HEAD:
        raise BadCheckpoint(
            f"{weights.origin}: towers are {width} and {text_width} wide, which is none of"
            f" open_clip's usual ones, and tensors do not show their heads; put {FILE} beside it"
        )
    return {
        "embed_dim": projection,
        "vision_cfg": {
            "image_size": math.isqrt(positions - 1) * patch,
            "patch_size": patch,
            "width": width,
            "head_width": head,
            "layers": _layers(shapes, "visual.transformer.resblocks."),
            "mlp_ratio": ratios[0],
        },
        "text_cfg": {
            "context_length": length,
            "vocab_size": words,
            "width": text_width,
            "heads": text_width // HEAD,
            "layers": _layers(shapes, "transformer.resblocks."),
            "mlp_ratio": ratios[1],
        },
    }


def _layers(names: Mapping[str, object], start: str) -> int:
    return len({name[len(start) :].split(".")[0] for name in names if name.startswith(start)})


def _renamed(name: str) -> str:
    if name in _NAMES:
        return _NAMES[name]
    start = next((old for old in _STARTS if name.startswith(old)), "")
    target = _STARTS.get(start, "") + name.removeprefix(start)
    for old, new in _INSIDE.items():
        target = target.replace(old, new)
    return target


def _as_it_is(value: Tensor) -> Tensor:
    return value


def _transposed(value: Tensor) -> Tensor:
    return value.transpose(0, -1)


def _part(number: int, value: Tensor) -> Tensor:
    return value.tensor_split(3)[number]
