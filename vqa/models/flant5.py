"""CLIP-FlanT5: a T5 that reads text, a picture and text, and says how likely an answer is.

Lin et al., "Evaluating Text-to-Visual Generation with Image-to-Text Generation", arXiv 2404.01291.
The encoder's input is the text before the picture, the picture's projected patch features, and the
text after it; the decoder is handed the answer. T5 and the CLIP tower are transformers' modules,
the parts between them are here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import CLIPVisionConfig, CLIPVisionModel, T5Config
from transformers.models.t5.modeling_t5 import T5Stack

from vqa.errors import BadCheckpoint
from vqa.models.weights import Place, Where, as_named, fill, number_positions, open_weights

IGNORED = -100  # a label that is padding

# The same tensor as shared.weight, under the names of the modules that look into it.
_ALIASES = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "embed_tokens.weight")
_TOWER = "vision_tower.vision_tower.vision_model."
_T5 = ("d_model", "d_kv", "d_ff", "num_layers", "num_heads", "feed_forward_proj")
_T5_OPTIONAL = (
    "num_decoder_layers",
    "relative_attention_num_buckets",
    "relative_attention_max_distance",
    "layer_norm_epsilon",
)
_CLIP = (
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "image_size",
    "patch_size",
    "hidden_act",
    "layer_norm_eps",
)


class FlanT5(nn.Module):
    """Encoder, decoder, picture tower and projector of one checkpoint.

    said -- its config.json. tower -- the config of its CLIP tower. vocabulary -- how many tokens
    the tokenizer has: embeddings and output are cut to so many rows.
    """

    def __init__(
        self, said: Mapping[str, Any], tower: CLIPVisionConfig, *, vocabulary: int
    ) -> None:
        super().__init__()
        config = _t5(said, vocabulary)
        self.shared = nn.Embedding(vocabulary, config.d_model)
        self.encoder = _stack(config, decoder=False)
        self.decoder = _stack(config, decoder=True)
        self.lm_head = nn.Linear(config.d_model, vocabulary, bias=False)
        whole = CLIPVisionModel(tower)
        self.tower = getattr(whole, "vision_model", whole)  # one level less since transformers 5
        self.projector = _projector(
            str(said.get("mm_projector_type", "mlp2x_gelu")), tower.hidden_size, config.d_model
        )
        self.image_size = tower.image_size if isinstance(tower.image_size, int) else 336
        self.start = said.get("decoder_start_token_id") or 0
        self.layer = int(said.get("mm_vision_select_layer", -2))
        self.first_patch = int(said.get("mm_vision_select_feature", "patch") == "patch")
        # Where input and output share a matrix, T5 scales what comes out of it.
        self.scale = config.d_model**-0.5 if said.get("tie_word_embeddings", True) else 1.0

    def look(self, pixels: Tensor) -> Tensor:
        """Pixels (N, 3, H, W) -> (N, patches, d_model): one layer of the tower, projected."""
        layers = self.tower(pixel_values=pixels, output_hidden_states=True).hidden_states
        seen: Tensor = self.projector(layers[self.layer][:, self.first_patch :])
        return seen

    def forward(
        self,
        before: Sequence[Tensor],
        pictures: Tensor,
        after: Sequence[Tensor],
        answers: Sequence[Tensor],
    ) -> Tensor:
        """Token ids around each picture, pixels (N, 3, H, W), ids of the answers -> (N,).

        The mean log probability of the tokens of each answer, in float32.
        """
        parts = zip(before, self.look(pictures), after, strict=True)
        rows = [torch.cat((self.shared(a), seen, self.shared(b))) for a, seen, b in parts]
        mask = pad_sequence([row.new_ones(len(row)) for row in rows], batch_first=True).long()
        read = self.encoder(
            inputs_embeds=pad_sequence(rows, batch_first=True), attention_mask=mask
        ).last_hidden_state
        labels = pad_sequence(list(answers), batch_first=True, padding_value=IGNORED)
        logits = self._logits(labels, read, mask)
        losses = F.cross_entropy(
            logits.float().transpose(1, 2), labels, ignore_index=IGNORED, reduction="none"
        )
        return -losses.sum(1) / (labels != IGNORED).sum(1)

    def _logits(self, labels: Tensor, read: Tensor, mask: Tensor) -> Tensor:
        """Labels (N, L) -> (N, L, vocabulary); each token is said knowing those before it."""
        known = F.pad(labels.clamp_min(0)[:, :-1], (1, 0), value=self.start)
        hidden = self.decoder(
            inputs_embeds=self.shared(known),
            encoder_hidden_states=read,
            encoder_attention_mask=mask,
            use_cache=False,
        ).last_hidden_state
        logits: Tensor = self.lm_head(hidden * self.scale)
        return logits


def load(
    folder: Path,
    said: Mapping[str, Any],
    tower: Mapping[str, Any],
    *,
    vocabulary: int,
    device: torch.device,
    dtype: torch.dtype,
) -> FlanT5:
    """Build the network of two configs and fill it; raises MissingCheckpoint, BadCheckpoint.

    tower -- content of the config.json of the CLIP tower, or of the whole CLIP it is part of.
    """
    try:
        with torch.device("meta"):
            network = FlanT5(said, tower_config(tower), vocabulary=vocabulary)
    except BadCheckpoint as error:
        raise BadCheckpoint(f"{folder}: {error}") from None
    except Exception as error:  # the library checks configs with exceptions of many kinds
        raise BadCheckpoint(
            f"{folder}: the sizes in its configs make no network ({error})"
        ) from None
    weights = open_weights(folder, pickles=("pytorch_model.bin",))
    # In float16 the sums of this one layer overflow; T5 has always kept it in float32.
    wide = ("DenseReluDense.wo.weight",) if dtype == torch.float16 else ()
    fill(network, weights, _where(vocabulary), device=device, dtype=dtype, wide=wide)
    number_positions(network, device)
    return network


def tower_config(said: Mapping[str, Any]) -> CLIPVisionConfig:
    """Sizes of a CLIP tower."""
    own = said.get("vision_config", said)
    taken = {name: own[name] for name in _CLIP if name in own}
    return CLIPVisionConfig(**taken)


def _t5(said: Mapping[str, Any], vocabulary: int) -> T5Config:
    missing = [name for name in _T5 if name not in said]
    if missing:
        raise BadCheckpoint(f"config.json: lacks {', '.join(missing)}; is it a CLIP-FlanT5?")
    taken = {name: said[name] for name in (*_T5, *_T5_OPTIONAL) if name in said}
    config = T5Config(**taken, vocab_size=vocabulary)
    config.dense_act_fn = said.get("dense_act_fn", config.dense_act_fn)
    return config


def _stack(config: T5Config, *, decoder: bool) -> T5Stack:
    """One half of a T5 without embeddings of its own: it is handed embedded tokens."""
    own = deepcopy(config)
    own.is_decoder, own.is_encoder_decoder, own.use_cache = decoder, False, False
    own.num_layers = (config.num_decoder_layers if decoder else None) or config.num_layers
    stack = T5Stack(own)
    stack._modules["embed_tokens"] = None
    return stack


def _projector(kind: str, width: int, out: int) -> nn.Sequential:
    depth = re.fullmatch(r"mlp(\d+)x_gelu", kind)
    if depth is None:
        raise BadCheckpoint(f"config.json: mm_projector_type {kind!r} is not known, but mlp2x_gelu")
    layers: list[nn.Module] = [nn.Linear(width, out)]
    for _ in range(1, int(depth[1])):
        layers += [nn.GELU(), nn.Linear(out, out)]
    return nn.Sequential(*layers)


def _where(vocabulary: int) -> Where:
    """Places of the checkpoint's tensors; rows beyond the vocabulary are cut off."""

    def cut(value: Tensor) -> Tensor:
        return value[:vocabulary]

    def where(name: str) -> Sequence[Place]:
        if name in _ALIASES or name.endswith("embeddings.position_ids"):
            return ()
        if name in ("shared.weight", "lm_head.weight"):
            return ((name, cut),)
        short = name.replace(_TOWER, "tower.", 1).replace("mm_projector.", "projector.", 1)
        return as_named()(short)

    return where
