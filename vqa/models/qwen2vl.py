"""Qwen2-VL with numbers in place of words: its two networks from transformers, and a linear head.

The released checkpoints have the flat names of transformers 4: visual.*, model.*, score.*. Wang et
al., "Qwen2-VL", arXiv 2409.12191.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Qwen2VLConfig
from transformers.models.qwen2_vl.modeling_qwen2_vl import (
    Qwen2VisionTransformerPretrainedModel,
    Qwen2VLTextModel,
)

from vqa.errors import BadCheckpoint
from vqa.models.fit import read_json
from vqa.models.qwen2vl_pixels import FROM, Grid
from vqa.models.weights import Place, as_named, fill, open_weights


class Regressor(nn.Module):
    """Reads a video and a text, and gives `outputs` numbers at the last token."""

    def __init__(self, config: Any, *, outputs: int):
        super().__init__()
        self.video_token = int(config.video_token_id)
        self.visual: Any = Qwen2VisionTransformerPretrainedModel(config.vision_config)
        self.language_model: Any = Qwen2VLTextModel(config.text_config)
        self.score = nn.Linear(config.text_config.hidden_size, outputs)

    def forward(self, ids: Sequence[int], patches: Tensor, grid: Grid) -> Tensor:
        """Token ids, patches (N, D) and their grid -> (outputs,) float32.

        Every token, those of the video included, has its place in the row as its position in all
        three rotary sections: the released class passes no other, in training and since. ids must
        hold a video token for each of the `merge` x `merge` patches.
        """
        device = self.score.weight.device
        tokens = torch.tensor(ids, device=device)
        seen = self.visual(patches.to(device), grid_thw=torch.tensor([grid], device=device))
        hidden = self.language_model.embed_tokens(tokens)
        hidden[tokens == self.video_token] = seen.pooler_output.to(hidden.dtype)
        read = self.language_model(
            inputs_embeds=hidden[None],
            position_ids=torch.arange(len(ids), device=device).expand(3, 1, -1),
            use_cache=False,
        )
        numbers: Tensor = self.score(read.last_hidden_state[0, -1]).float()
        return numbers


def load_regressor(
    folder: Path, *, outputs: int, device: torch.device, dtype: torch.dtype
) -> Regressor:
    """Build the network that config.json describes and fill it.

    Raises MissingCheckpoint, and BadCheckpoint for tensors or a config that do not fit.
    """
    network = _empty(folder, outputs)
    weights = open_weights(folder, pickles=("pytorch_model.bin",))
    fill(network, weights, _place, device=device, dtype=dtype)
    _make_rotary(network, device)
    return network


def _empty(folder: Path, outputs: int) -> Regressor:
    """Build it without content."""
    data = read_json(folder, "config.json", FROM)
    try:
        if data.get("model_type") != "qwen2_vl":
            raise ValueError(f"its model_type is {data.get('model_type')!r}")
        with torch.device("meta"):
            return Regressor(Qwen2VLConfig.from_dict(data), outputs=outputs)
    except Exception as error:  # sizes that do not go together end in errors of every kind
        told = (str(error).strip() or repr(error)).splitlines()[0]
        raise BadCheckpoint(
            f"{folder / 'config.json'}: describes no Qwen2-VL ({told}); {FROM}"
        ) from None


def _make_rotary(network: Regressor, device: torch.device) -> None:
    """Compute the frequencies, which no checkpoint holds: in float32, whatever the weights are."""
    for owner, name in ((network.visual, "rotary_pos_emb"), (network.language_model, "rotary_emb")):
        empty = getattr(owner, name)
        setattr(owner, name, type(empty)(empty.config).to(device))


def _place(name: str) -> Sequence[Place]:
    """Where a tensor of the flat layout goes."""
    if name.startswith("model."):
        name = f"language_model.{name.removeprefix('model.')}"
    return as_named()(name)
