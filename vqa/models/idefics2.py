"""Idefics2 with a regression head: pictures and text in, a few numbers out.

The transformers modules (arXiv 2405.02246; patches of any shape as in NaViT, arXiv 2307.06304) in
the order in which VideoScore was trained: vision tower, gated projection, perceiver, Mistral, and a
linear layer on the last token. Tensor names are those of the checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from transformers import (
    Idefics2Config,
    Idefics2Model,
    Idefics2PerceiverConfig,
    Idefics2VisionConfig,
    MistralConfig,
)

from vqa.errors import BadArgument, BadCheckpoint
from vqa.models import fit
from vqa.models.weights import as_named, fill, open_weights

# What the Idefics2 code of the checkpoint's time supplied where a text config says nothing.
TEXT_DEFAULTS: Mapping[str, Any] = {
    "max_position_embeddings": 32768,
    "rms_norm_eps": 1e-5,
    "pad_token_id": 0,
}
# A picture has up to 2730 patches: this many in the tower at once keep its activations below 1 GB.
PICTURES_AT_ONCE = 8
FROM = "take the one published with the weights"
# How the reference's positions were rounded, see `_arange`.
LANES = 8


class Idefics2Regression(nn.Module):
    """Reads a text with pictures in it and gives `outputs` numbers, without activation.

    pad_id -- where the config names one, the head reads the token before the first of them.
    """

    def __init__(self, config: Any, *, outputs: int, pad_id: int | None = None) -> None:
        super().__init__()
        self.model = Idefics2Model(config)
        self.model.vision_model.embeddings = Patches(config.vision_config)
        self.score = nn.Linear(config.text_config.hidden_size, outputs)
        self.image_id: int = config.image_token_id
        self.tokens_per_picture: int = config.perceiver_config.resampler_n_latents
        self.most_tokens: int = config.text_config.max_position_embeddings
        self.pad_id = pad_id

    def forward(self, pixels: Tensor, ids: Tensor) -> Tensor:
        """Give the numbers (outputs,) float32 of one text.

        pixels -- (T, 3, H, W) float32, normalised. ids -- (L,) int64, with `tokens_per_picture`
        image tokens for each picture. Raises BadArgument where these do not agree, or where the
        text is longer than the network's positions.
        """
        self._check(len(pixels), ids)
        text = self.model.text_model
        pictures = torch.cat([self.see(part) for part in torch.split(pixels, PICTURES_AT_ONCE)])
        embedded = text.get_input_embeddings()(ids)
        embedded[ids == self.image_id] = pictures.flatten(0, 1)
        found = text(inputs_embeds=embedded[None], use_cache=False).last_hidden_state[0]
        numbers: Tensor = self.score(found[self.last(ids)]).float()
        return numbers

    def see(self, pixels: Tensor) -> Tensor:
        """Give what the decoder gets of pictures (T, 3, H, W): (T, tokens_per_picture, hidden)."""
        tower = self.model.vision_model
        seen = tower(pixel_values=pixels).last_hidden_state
        every = torch.ones(seen.shape[:2], dtype=torch.bool, device=seen.device)
        found: Tensor = self.model.connector(seen, attention_mask=every)
        return found

    def last(self, ids: Tensor) -> int:
        """Give the place whose hidden state the head reads: -1, or before the first padding."""
        if self.pad_id is None:
            return -1
        padding = (ids == self.pad_id).nonzero()
        return int(padding[0]) - 1 if len(padding) else -1

    def _check(self, pictures: int, ids: Tensor) -> None:
        due, found = pictures * self.tokens_per_picture, int((ids == self.image_id).sum())
        if due != found:
            raise BadArgument(f"{pictures} pictures are {due} image tokens, the text has {found}")
        if len(ids) > self.most_tokens:
            raise BadArgument(
                f"{pictures} frames and the text are {len(ids)} tokens, the network takes"
                f" {self.most_tokens}; choose fewer frames, sampler='strided:48'"
            )


class Patches(nn.Module):
    """Cuts pictures into patches and adds positions, as the code of 2024 did.

    Newer transformers round the positions of 49 and of 58 patches otherwise.
    """

    def __init__(self, config: Any) -> None:
        super().__init__()
        width, size = config.hidden_size, config.patch_size
        self.positions_per_side = config.image_size // size
        self.patch_embedding = nn.Conv2d(config.num_channels, width, size, stride=size)
        self.position_embedding = nn.Embedding(self.positions_per_side**2, width)

    def forward(self, pixel_values: Tensor, patch_attention_mask: Tensor | None = None) -> Tensor:
        """(T, C, H, W) -> (T, patches, width). All pictures are whole, so the mask says nothing."""
        patches = self.patch_embedding(pixel_values.to(self.patch_embedding.weight.dtype))
        rows, columns = (buckets(n, self.positions_per_side) for n in patches.shape[-2:])
        places = torch.from_numpy(rows[:, None] * self.positions_per_side + columns).flatten()
        added = self.position_embedding(places.to(patches.device))
        embedded: Tensor = patches.flatten(2).transpose(1, 2) + added
        return embedded


def buckets(count: int, positions: int) -> npt.NDArray[np.int64]:
    """Give the position, of `positions` along a side, for each of `count` patches.

    Patch i lies at i / count; its position is the number of multiples of 1 / positions up to there,
    both rounded as in the reference.
    """
    step = float(np.float32(1) / np.float32(count))
    edges = _arange(positions - 1, start=1 / positions, step=1 / positions)
    found = np.searchsorted(edges, _arange(count, start=0.0, step=step), side="right")
    return found.astype(np.int64)


def _arange(count: int, *, start: float, step: float) -> npt.NDArray[np.float32]:
    """Round `start + i * step` to float32 as `torch.arange` does on a CPU with AVX2.

    Pairs of registers of LANES numbers are counted from a rounded first number, what is left one by
    one. torch itself would round by the registers of the machine at hand.
    """
    index = np.arange(count)
    first = index // LANES * LANES
    counted = (start + step * first).astype(np.float32) + step * (index - first)
    paired = index < count // (2 * LANES) * (2 * LANES)
    return np.where(paired, counted, start + step * index).astype(np.float32)


def empty_network(folder: Path, *, outputs: int) -> Idefics2Regression:
    """Build the network that a folder's config.json describes, without content (device meta).

    Raises BadCheckpoint where it describes another one.
    """
    found = fit.read_json(folder, "config.json", FROM)
    try:
        with torch.device("meta"):
            return Idefics2Regression(
                network_config(found), outputs=outputs, pad_id=found.get("pad_token_id")
            )
    except Exception as error:  # the library checks configs with exceptions of many kinds
        told = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise BadCheckpoint(
            f"{folder / 'config.json'}: does not describe an Idefics2 ({told}); {FROM}"
        ) from None


def fill_network(
    network: Idefics2Regression, folder: Path, *, device: torch.device, dtype: torch.dtype
) -> None:
    """Fill an empty network. Raises BadCheckpoint that says what is missing or does not fit."""
    weights = open_weights(folder, pickles=("pytorch_model.bin",))
    fill(network, weights, as_named(ignore=(".position_ids",)), device=device, dtype=dtype)
    text = network.model.text_model
    # Frequencies stay float32: rounded to bfloat16 they move scores by up to 0.07.
    text.rotary_emb = type(text.rotary_emb)(config=text.config).to(device)


def network_config(found: Mapping[str, Any]) -> Idefics2Config:
    """Give the config of the network in a config.json."""
    text = MistralConfig(**{**TEXT_DEFAULTS, **found["text_config"]})
    # The perceiver of today's library has an eps of its own; this one was trained with the text's.
    shared = {"hidden_size": text.hidden_size, "rms_norm_eps": text.rms_norm_eps}
    return Idefics2Config(
        text_config=text,
        perceiver_config=Idefics2PerceiverConfig(**_own(found["perceiver_config"]) | shared),
        vision_config=Idefics2VisionConfig(**_own(found["vision_config"])),
        image_token_id=found.get("image_token_id", 32001),
    )


def _own(part: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out the name of the part: released files call every part "idefics2"."""
    return {key: value for key, value in part.items() if key != "model_type"}
