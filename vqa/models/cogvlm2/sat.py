"""VisionReward-Image in the words of SwissArmyTransformer, translated into those of CogVLM2-19B.

Every tensor is renamed and nothing else: q, k and v lie in the same order, nothing is transposed.
Verified in both directions by running the two models on the same weights.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from vqa.errors import BadCheckpoint
from vqa.models.cogvlm2.config import Config, VisionConfig

_EOT = 128009  # CogVLM2-19B also ends a reply here; model_config.json has room for one id only
_PAD = 128002

_LAYER, _EVA = r"transformer\.layers\.(\d+)\.", r"mixins\.eva\.vit_model\."
_TO, _TOWER = r"model.layers.\1.", "model.vision."
_SELF, _MLP = _TO + "self_attn.", _TO + "mlp."
_ANY = r"(weight|bias)"

_RENAMED = tuple(
    (re.compile(pattern), name)
    for pattern, name in {
        r"transformer\.word_embeddings\.weight": "model.embed_tokens.weight",
        r"transformer\.final_layernorm\.weight": "model.norm.weight",
        r"mixins\.lm\.lm_head\.weight": "lm_head.weight",
        _LAYER + r"((?:input|post_attention)_layernorm)\.weight": _TO + r"\2.weight",
        _LAYER + r"attention\.(query_key_value|dense)\.weight": (
            _SELF + r"language_expert_\2.weight"
        ),
        _LAYER + r"mlp\.dense_h_to_4h\.weight": _MLP + "language_mlp.up_proj.weight",
        _LAYER + r"mlp\.dense_4h_to_h\.weight": _MLP + "language_mlp.down_proj.weight",
        r"mixins\.mlp\.gate_proj\.(\d+)\.weight": _MLP + "language_mlp.gate_proj.weight",
        r"mixins\.rotary\.vision_(query_key_value)_list\.(\d+)\." + _ANY: (
            r"model.layers.\2.self_attn.vision_expert_\1.\3"
        ),
        r"mixins\.rotary\.vision_dense_list\.(\d+)\.weight": _SELF + "vision_expert_dense.weight",
        r"mixins\.mlp\.vision_dense_h_to_4h_list\.(\d+)\.weight": (
            _MLP + "vision_mlp.up_proj.weight"
        ),
        r"mixins\.mlp\.vision_dense_4h_to_h_list\.(\d+)\.weight": (
            _MLP + "vision_mlp.down_proj.weight"
        ),
        r"mixins\.mlp\.vision_gate_proj\.(\d+)\.weight": _MLP + "vision_mlp.gate_proj.weight",
        r"mixins\.eva\.((?:boi|eoi|conv\.|linear_proj\.).*)": _TOWER + r"\1",
        _EVA + r"mixins\.patch_embedding\.proj\." + _ANY: _TOWER + r"patch_embedding.proj.\1",
        _EVA + r"transformer\.word_embeddings\.weight": _TOWER + "patch_embedding.cls_embedding",
        _EVA + r"transformer\.position_embeddings\.weight": (
            _TOWER + "patch_embedding.position_embedding.weight"
        ),
        _EVA + r"(transformer\.layers\.\d+\.\w+_layernorm)\." + _ANY: _TOWER + r"\1.\2",
        _EVA + r"(transformer\.layers\.\d+\.attention\.\w+)\." + _ANY: _TOWER + r"\1.\2",
        _EVA + r"(transformer\.layers\.\d+)\.mlp\.dense_h_to_4h\." + _ANY: (
            _TOWER + r"\1.mlp.fc1.\2"
        ),
        _EVA + r"(transformer\.layers\.\d+)\.mlp\.dense_4h_to_h\." + _ANY: (
            _TOWER + r"\1.mlp.fc2.\2"
        ),
    }.items()
)


def hf_names(key: str, *, layers: int) -> tuple[str, ...]:
    """The names that CogVLM2-19B gives to this SAT tensor: none if the key is unknown.

    One tensor has several: the rotary frequencies, kept once here and in each of `layers` there.
    """
    if key == "mixins.rotary.rotary_emb.inv_freq":
        return tuple(f"model.layers.{i}.self_attn.rotary_emb.inv_freq" for i in range(layers))
    for pattern, name in _RENAMED:
        if match := pattern.fullmatch(key):
            return (match.expand(name),)
    return ()


def hf_config(sat: Mapping[str, Any]) -> dict[str, Any]:
    """Translate model_config.json into a config.json; raises BadCheckpoint if it does not fit.

    No `auto_map`: with it transformers stops and asks whether to run code from the folder.
    """
    try:
        found = _sizes(sat).to_dict() | {
            "max_position_embeddings": sat["max_sequence_length"],
            "template_version": "chat",
        }
        Config.from_dict(found)
    except KeyError as error:
        raise BadCheckpoint(
            f"model_config.json: lacks {error}; is it VisionReward-Image?"
        ) from None
    except (TypeError, ValueError, ZeroDivisionError, BadCheckpoint) as error:
        raise BadCheckpoint(f"model_config.json: {error}") from None
    return found


def _sizes(sat: Mapping[str, Any]) -> Config:
    if sat.get("model_parallel_size", 1) != 1:
        raise BadCheckpoint(f"model_parallel_size must be 1, not {sat['model_parallel_size']}")
    return Config(
        experts=True,
        hidden_size=sat["hidden_size"],
        intermediate_size=sat["inner_hidden_size"],
        num_hidden_layers=sat["num_layers"],
        num_attention_heads=sat["num_attention_heads"],
        num_multi_query_heads=sat.get("num_multi_query_heads") or sat["num_attention_heads"],
        rms_norm_eps=sat.get("layernorm_epsilon", 1e-5),
        vocab_size=sat["vocab_size"],
        bos_token_id=sat["bos_token_id"],
        eos_token_ids=(sat["eos_token_id"], _EOT),
        pad_token_id=_PAD,
        vision=_tower(sat["eva_args"]),
    )


def _tower(eva: Mapping[str, Any]) -> VisionConfig:
    # eva's max_sequence_length says 257 and is not true: the position table has one row per patch.
    size = eva["image_size"]
    if not isinstance(size, list) or len(size) != 2 or size[0] != size[1]:
        raise BadCheckpoint(f"eva_args.image_size must be two equal numbers, not {size!r}")
    return VisionConfig(
        hidden_size=eva["hidden_size"],
        num_hidden_layers=eva["num_layers"],
        num_heads=eva["num_attention_heads"],
        intermediate_size=eva["inner_hidden_size"],
        image_size=size[0],
        patch_size=eva["patch_size"],
        in_channels=eva["in_channels"],
        layer_norm_eps=eva["layernorm_epsilon"],
    )
