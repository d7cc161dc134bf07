"""Sizes of a CogVLM2, read from its config.json, and the name and shape of every tensor it has.

Needs no torch, so that a checkpoint can be checked against its headers in milliseconds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from vqa.errors import BadCheckpoint, MissingCheckpoint

Shape = tuple[int, ...]

VIDEO, IMAGE = "CogVLMVideoForCausalLM", "CogVLMForCausalLM"


@dataclass(frozen=True, slots=True)
class VisionConfig:
    """Sizes of the EVA2-CLIP tower; the defaults are those of both published models."""

    hidden_size: int = 1792
    num_hidden_layers: int = 63
    num_heads: int = 16
    intermediate_size: int = 15360
    image_size: int = 224
    patch_size: int = 14
    in_channels: int = 3
    layer_norm_eps: float = 1e-6

    @property
    def side(self) -> int:
        """Patches along one side of a picture."""
        return self.image_size // self.patch_size

    @property
    def num_positions(self) -> int:
        """Tokens inside the tower: the patches and the class token."""
        return self.side**2 + 1

    @property
    def tokens(self) -> int:
        """Tokens of a picture in the decoder: one per 2x2 patches, between boi and eoi."""
        return (self.side // 2) ** 2 + 2


@dataclass(frozen=True, slots=True)
class Config:
    """Sizes of the whole model, named as in config.json.

    `experts`: whether the decoder has weights of their own for vision tokens (the image model).
    """

    experts: bool
    hidden_size: int = 4096
    intermediate_size: int = 14336
    num_hidden_layers: int = 32
    num_attention_heads: int = 32
    num_multi_query_heads: int = 8
    rms_norm_eps: float = 1e-5
    vocab_size: int = 128256
    bos_token_id: int = 128000
    eos_token_ids: tuple[int, ...] = (128001,)
    pad_token_id: int = 128002
    vision: VisionConfig = VisionConfig()

    @classmethod
    def read(cls, folder: str | PathLike[str]) -> Config:
        """Read config.json of a checkpoint folder; raises MissingCheckpoint or BadCheckpoint."""
        file = Path(folder) / "config.json"
        try:
            data = json.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise MissingCheckpoint(
                f"{folder}: holds no config.json, so it is no checkpoint folder; give the folder"
                " that has config.json, the safetensors shards and tokenizer.json"
            ) from None
        except (OSError, ValueError) as error:
            raise BadCheckpoint(f"{file}: cannot be read as JSON ({error})") from None
        try:
            return cls.from_dict(data)
        except BadCheckpoint as error:
            raise BadCheckpoint(f"{file}: {error}") from None

    @classmethod
    def from_dict(cls, data: Any) -> Config:
        """Check and take over what config.json says. Raises BadCheckpoint with the rule broken.

        Absent keys have the published defaults: the 19B config names neither its 8 key/value heads
        nor whether the head is tied. Keys that say nothing about the network are ignored.
        """
        if not isinstance(data, Mapping):
            raise BadCheckpoint("must be a JSON object")
        kinds = data.get("architectures") or "of no architecture"
        if kinds not in ([VIDEO], [IMAGE]):
            said = ", ".join(map(str, kinds)) if isinstance(kinds, list) else kinds
            raise BadCheckpoint(
                f"says the model is {said}; the"
                f" CogVLM2 engine runs {VIDEO} (VisionReward-Video, cogvlm2-video,"
                f" cogvlm2-llama3-caption) and {IMAGE} (VisionReward-Image after `vqa convert`,"
                " cogvlm2-llama3-chat)"
            )
        if data.get("tie_word_embeddings"):
            raise BadCheckpoint("tie_word_embeddings must be false: CogVLM2 has a head of its own")
        found = cls(
            experts=kinds == [IMAGE],
            vision=_take(VisionConfig, data.get("vision_config")),
            eos_token_ids=_ids(data.get("eos_token_id", 128001)),
            **_known(cls, data),
        )
        return found._checked(data)

    def to_dict(self) -> dict[str, Any]:
        """Give the content of a config.json from which `from_dict` makes this again."""
        vision = asdict(self.vision) | {
            "num_positions": self.vision.num_positions,
            "hidden_act": "gelu",
            "dropout_prob": 0.0,
        }
        plain = asdict(self)
        for key in ("experts", "vision", "eos_token_ids"):
            del plain[key]
        return {
            "architectures": [IMAGE if self.experts else VIDEO],
            **plain,
            "eos_token_id": list(self.eos_token_ids),
            "hidden_act": "silu",
            "tie_word_embeddings": False,
            "vision_config": vision,
        }

    @property
    def head_size(self) -> int:
        """Width of one attention head of the decoder."""
        return self.hidden_size // self.num_attention_heads

    @property
    def kv_size(self) -> int:
        """Width of all keys of one token (and of all values)."""
        return self.num_multi_query_heads * self.head_size

    @property
    def num_parameters(self) -> int:
        """Learned numbers, without the rotary buffers."""
        return sum(
            _size(shape) for name, shape in self.shapes().items() if not name.endswith("inv_freq")
        )

    def shapes(self) -> dict[str, Shape]:
        """Give every tensor of the checkpoint, by name, with its shape."""
        h, v = self.hidden_size, self.vocab_size
        found: dict[str, Shape] = {"model.embed_tokens.weight": (v, h)}
        for number in range(self.num_hidden_layers):
            layer = self._layer()
            found |= {f"model.layers.{number}.{name}": shape for name, shape in layer.items()}
        found |= {f"model.vision.{name}": shape for name, shape in self._tower().items()}
        return found | {"model.norm.weight": (h,), "lm_head.weight": (v, h)}

    def _layer(self) -> dict[str, Shape]:
        h, i, qkv = self.hidden_size, self.intermediate_size, self.hidden_size + 2 * self.kv_size
        found: dict[str, Shape] = {
            "self_attn.rotary_emb.inv_freq": (self.head_size // 2,),
            "input_layernorm.weight": (h,),
            "post_attention_layernorm.weight": (h,),
        }
        for kind in ("language", "vision") if self.experts else ("language",):
            found |= {
                f"self_attn.{kind}_expert_query_key_value.weight": (qkv, h),
                f"self_attn.{kind}_expert_dense.weight": (h, h),
                f"mlp.{kind}_mlp.gate_proj.weight": (i, h),
                f"mlp.{kind}_mlp.up_proj.weight": (i, h),
                f"mlp.{kind}_mlp.down_proj.weight": (h, i),
            }
        if self.experts:
            found["self_attn.vision_expert_query_key_value.bias"] = (qkv,)
        return found

    def _tower(self) -> dict[str, Shape]:
        tower, h, i = self.vision, self.hidden_size, self.intermediate_size
        w, m, p = tower.hidden_size, tower.intermediate_size, tower.patch_size
        found: dict[str, Shape] = {
            "patch_embedding.proj.weight": (w, tower.in_channels, p, p),
            "patch_embedding.proj.bias": (w,),
            "patch_embedding.cls_embedding": (1, w),
            "patch_embedding.position_embedding.weight": (tower.num_positions, w),
            "conv.weight": (w, w, 2, 2),
            "conv.bias": (w,),
            "linear_proj.linear_proj.weight": (h, w),
            "linear_proj.norm1.weight": (h,),
            "linear_proj.norm1.bias": (h,),
            "linear_proj.gate_proj.weight": (i, h),
            "linear_proj.dense_h_to_4h.weight": (i, h),
            "linear_proj.dense_4h_to_h.weight": (h, i),
            "boi": (1, 1, h),
            "eoi": (1, 1, h),
        }
        block = {"attention.query_key_value": (3 * w, w), "attention.dense": (w, w)}
        block |= {"mlp.fc1": (m, w), "mlp.fc2": (w, m)}
        for number in range(tower.num_hidden_layers):
            head = f"transformer.layers.{number}."
            for name, shape in block.items():
                found |= {f"{head}{name}.weight": shape, f"{head}{name}.bias": shape[:1]}
            for norm in ("input_layernorm", "post_attention_layernorm"):
                found |= {f"{head}{norm}.weight": (w,), f"{head}{norm}.bias": (w,)}
        return found

    def _checked(self, data: Mapping[str, Any]) -> Config:
        tower = self.vision
        rules = {
            "hidden_size must be a multiple of num_attention_heads": (
                self.hidden_size % self.num_attention_heads == 0
            ),
            "num_attention_heads must be a multiple of num_multi_query_heads": (
                self.num_attention_heads % self.num_multi_query_heads == 0
            ),
            "the size of a head must be even": self.head_size % 2 == 0,
            "vision_config.hidden_size must be a multiple of num_heads": (
                tower.hidden_size % tower.num_heads == 0
            ),
            "vision_config.image_size must be an even number of patches": (
                tower.image_size % (2 * tower.patch_size) == 0
            ),
            f"vision_config.num_positions must be {tower.num_positions}": (
                (data.get("vision_config") or {}).get("num_positions", tower.num_positions)
                == tower.num_positions
            ),
            "hidden_act must be 'silu'": data.get("hidden_act", "silu") == "silu",
            "vision_config.hidden_act must be 'gelu'": (
                (data.get("vision_config") or {}).get("hidden_act", "gelu") == "gelu"
            ),
        }
        for rule, holds in rules.items():
            if not holds:
                raise BadCheckpoint(rule)
        return self


def _take(kind: type[VisionConfig], data: Any) -> VisionConfig:
    if not isinstance(data, Mapping):
        raise BadCheckpoint("vision_config must be there and be an object")
    return kind(**_known(kind, data))


def _known(kind: type[Any], data: Mapping[str, Any]) -> dict[str, Any]:
    """Give those numbers of `data` that are fields of `kind`, checked."""
    found = {}
    for name, field in kind.__dataclass_fields__.items():
        if field.type not in ("int", "float") or data.get(name) is None:
            continue
        value = data[name]
        whole = _is_whole(value)
        if not (whole or (field.type == "float" and isinstance(value, float))) or not value >= 0:
            raise BadCheckpoint(f"{name} must be a number of type {field.type}, not {value!r}")
        if value == 0 and not name.endswith(("_id", "_eps")):
            raise BadCheckpoint(f"{name} must be at least 1")
        found[name] = value
    return found


def _ids(eos: Any) -> tuple[int, ...]:
    """Give the tokens that end a text: config.json names one or several."""
    ids = tuple(eos) if isinstance(eos, list) else (eos,)
    if not ids or not all(_is_whole(id_) and id_ >= 0 for id_ in ids):
        raise BadCheckpoint(f"eos_token_id must be a token id or a list of them, not {eos!r}")
    return ids


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _size(shape: Shape) -> int:
    size = 1
    for length in shape:
        size *= length
    return size
