"""ImageReward: how well people like a picture for its prompt (Xu et al., arXiv 2304.05977).

A BLIP image encoder, a BERT whose every layer also attends to the picture, and five linear layers
with nothing between them read the hidden state of the first token:

    reward = (x - mean) / deviation

of what the training set gave, so about 0 and 1 on usual pictures; higher is better, unbounded. A
head that gives 0 for everything shows as -0.16178: that is a broken checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing
from torch import Tensor, nn
from transformers import BlipTextConfig, BlipTextModel, BlipVisionConfig, BlipVisionModel

from vqa.errors import BadCheckpoint
from vqa.models.fit import read_json
from vqa.models.hub import companion
from vqa.models.pixels import normalised, rgb, short_side_to
from vqa.models.weights import Place, as_named, fill, number_positions, open_weights

PUBLISHED = "it is published beside ImageReward.pt, in THUDM/ImageReward"
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
ADDED = ("[DEC]", "[ENC]")  # BLIP's own, after BERT's vocabulary; nothing puts them into a text
HEAD = ("0", "2", "4", "6", "7")  # numbers of the linear layers: dropout stood between them

# From the checkpoint's names to transformers', inside the image encoder.
_VISION = {
    "cls_token": "embeddings.class_embedding",
    "pos_embed": "embeddings.position_embedding",
    "patch_embed.proj.": "embeddings.patch_embedding.",
    "norm.": "post_layernorm.",
    "blocks.": "encoder.layers.",
}
_BLOCK = {
    ".norm1.": ".layer_norm1.",
    ".norm2.": ".layer_norm2.",
    ".attn.qkv.": ".self_attn.qkv.",
    ".attn.proj.": ".self_attn.projection.",
}
_UNUSED = ("blip.vision_proj.", "blip.text_proj.", "blip.text_encoder.embeddings.position_ids")


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """What the code that made the checkpoint holds as constants: ViT-L/16 at 224, the scale.

    A config.json in the folder may say otherwise, under these names.
    """

    image_size: int = 224
    patch_size: int = 16
    vision_width: int = 1024
    vision_layers: int = 24
    vision_heads: int = 16
    vision_mlp_ratio: float = 4.0
    vision_layer_norm_eps: float = 1e-6
    mlp_sizes: Sequence[int] = (768, 1024, 128, 64, 16, 1)
    max_text_length: int = 35
    reward_mean: float = 0.16717362830052426
    reward_std: float = 1.0333394966054072

    @classmethod
    def read(cls, folder: Path) -> Sizes:
        """Take what config.json says, if there is one; raises BadCheckpoint."""
        if not (folder / "config.json").exists():
            return cls()
        said = read_json(folder, "config.json", "leave it out for the published checkpoint")
        return cls(**{f.name: said[f.name] for f in fields(cls) if f.name in said})

    @property
    def vision(self) -> BlipVisionConfig:
        """The image encoder."""
        return BlipVisionConfig(
            hidden_size=self.vision_width,
            intermediate_size=int(self.vision_width * self.vision_mlp_ratio),
            num_hidden_layers=self.vision_layers,
            num_attention_heads=self.vision_heads,
            image_size=self.image_size,
            patch_size=self.patch_size,
            layer_norm_eps=self.vision_layer_norm_eps,
            hidden_act="gelu",
        )

    def text(self, med: Mapping[str, Any]) -> BlipTextConfig:
        """The text encoder of a med_config.json; raises BadCheckpoint.

        Its encoder_width is that of a smaller image encoder, so the true one replaces it. It is a
        decoder in name only, which gives it the layers that look at the picture.
        """
        taken = (
            "vocab_size",
            "hidden_size",
            "intermediate_size",
            "num_hidden_layers",
            "num_attention_heads",
            "max_position_embeddings",
            "hidden_act",
            "layer_norm_eps",
            "pad_token_id",
        )
        missing = [name for name in taken if name not in med]
        if missing:
            raise BadCheckpoint(f"med_config.json: lacks {', '.join(missing)}; {PUBLISHED}")
        return BlipTextConfig(
            **{name: med[name] for name in taken},
            encoder_hidden_size=self.vision_width,
            is_decoder=True,
            bos_token_id=None,  # the default is out of a smaller vocabulary's range, and unused
        )


class Network(nn.Module):
    """Image encoder, text encoder that looks at the picture, head."""

    def __init__(self, vision: BlipVisionConfig, text: BlipTextConfig, head: Sequence[int]) -> None:
        super().__init__()
        self.vision = BlipVisionModel(vision)
        self.text = BlipTextModel(text, add_pooling_layer=False)
        self.head = nn.Sequential(*(nn.Linear(wide, out) for wide, out in pairwise(head)))

    def forward(self, pixels: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        """Pixels (N, 3, H, W), ids and mask (N, L) -> (N,) before mean and deviation."""
        seen = self.vision(pixel_values=pixels).last_hidden_state
        hidden = self.text(
            input_ids=ids, attention_mask=mask, encoder_hidden_states=seen, is_decoder=False
        ).last_hidden_state
        raw: Tensor = self.head(hidden[:, 0])[:, 0]
        return raw


@dataclass(frozen=True, eq=False)
class ImageReward:
    """Rates pictures for prompts; a prompt is cut off after 35 tokens."""

    network: Network
    tokenizer: Tokenizer
    sizes: Sizes
    device: torch.device
    dtype: torch.dtype
    needs_prompt: bool = field(default=True, init=False)

    def rate_images(self, pairs: Sequence[tuple[Image.Image, str]]) -> list[float]:
        """Rewards of pictures, each for its prompt."""
        pixels = self.pixels([image for image, _ in pairs])
        texts = self.tokenizer.encode_batch([text for _, text in pairs])
        ids = torch.tensor([text.ids for text in texts], device=self.device)
        mask = torch.tensor([text.attention_mask for text in texts], device=self.device)
        with torch.inference_mode():
            raw = self.network(pixels.to(self.device, self.dtype), ids, mask)
        rewards = (raw.double() - self.sizes.reward_mean) / self.sizes.reward_std
        return [float(reward) for reward in rewards]

    def pixels(self, images: Sequence[Image.Image]) -> Tensor:
        """Pictures of any mode and size -> (N, 3, size, size) float32.

        The mode is changed last, as in the released code: transparency and palette take part in
        the scaling.
        """
        size = self.sizes.image_size
        return normalised([rgb(_middle(short_side_to(image, size), size)) for image in images])


def load(folders: Mapping[str, Path], *, device: torch.device, dtype: torch.dtype) -> ImageReward:
    """Load ImageReward.pt, or the same as model.safetensors, from folders["imagereward"].

    Beside it lies med_config.json; vocab.txt is that of bert-base-uncased, from the folder or else
    from the hub. Raises MissingCheckpoint, BadCheckpoint.
    """
    folder = folders["imagereward"]
    sizes = Sizes.read(folder)
    med = read_json(folder, "med_config.json", PUBLISHED)
    vocabulary = companion(folder, "vocab.txt", repo="google-bert/bert-base-uncased")
    tokenizer = _tokenizer(vocabulary, sizes.max_text_length)
    network = _network(folder, sizes, med)
    rows = network.text.config.vocab_size
    if tokenizer.get_vocab_size() != rows:
        raise BadCheckpoint(
            f"{vocabulary}: makes {tokenizer.get_vocab_size()} tokens, the network has {rows}; take"
            " vocab.txt of google-bert/bert-base-uncased"
        )
    weights = open_weights(folder, pickles=("ImageReward.pt",))
    fill(network, weights, _where, device=device, dtype=dtype)
    number_positions(network, device)
    return ImageReward(network, tokenizer, sizes, device, dtype)


def _network(folder: Path, sizes: Sizes, med: Mapping[str, Any]) -> Network:
    try:
        with torch.device("meta"):
            return Network(sizes.vision, sizes.text(med), sizes.mlp_sizes)
    except BadCheckpoint as error:
        raise BadCheckpoint(f"{folder}: {error}") from None
    except Exception as error:  # the library checks configs with exceptions of many kinds
        raise BadCheckpoint(
            f"{folder}: the sizes in its configs make no network ({error})"
        ) from None


def _where(name: str) -> Sequence[Place]:
    """Give a tensor of the checkpoint its place; unknown ones keep their name and are refused."""
    if name.startswith(_UNUSED):
        return ()
    return as_named()(_place(name))


def _place(name: str) -> str:
    if name.startswith("blip.text_encoder."):
        return name.replace("blip.text_encoder", "text", 1)
    if name.startswith("mlp.layers."):
        number, _, leaf = name.removeprefix("mlp.layers.").partition(".")
        return f"head.{HEAD.index(number)}.{leaf}" if number in HEAD else name
    if not name.startswith("blip.visual_encoder."):
        return name
    inner = name.removeprefix("blip.visual_encoder.")
    start = next((old for old in _VISION if inner.startswith(old)), "")
    inner = _VISION.get(start, "") + inner.removeprefix(start)
    for old, new in _BLOCK.items():
        inner = inner.replace(old, new)
    return f"vision.{inner}"


def _middle(image: Image.Image, size: int) -> Image.Image:
    left, top = (round((side - size) / 2) for side in image.size)  # half to even, as released
    return image.crop((left, top, left + size, top + size))


def _tokenizer(vocabulary: Path, length: int) -> Tokenizer:
    """Uncased word pieces (BERT's), every text padded and cut to `length` tokens."""
    try:
        tokenizer = Tokenizer(WordPiece.from_file(str(vocabulary), unk_token="[UNK]"))
    except Exception as error:  # the library raises bare exceptions
        raise BadCheckpoint(f"{vocabulary}: cannot be read as a vocabulary ({error})") from None
    lacking = [token for token in SPECIAL if tokenizer.token_to_id(token) is None]
    if lacking:
        raise BadCheckpoint(f"{vocabulary}: lacks {', '.join(lacking)}; is it BERT's vocab.txt?")
    tokenizer.add_special_tokens([*SPECIAL, *ADDED])
    tokenizer.normalizer = BertNormalizer()
    tokenizer.pre_tokenizer = BertPreTokenizer()
    ends = [(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    tokenizer.enable_truncation(length)
    tokenizer.enable_padding(length=length, pad_id=tokenizer.token_to_id("[PAD]"))
    return tokenizer
