"""A CogVLM2 made of nothing: sizes in the real proportions, random weights, a tokenizer, questions.

Weights are made where they are used, so that 12.5 billion of them need no file and no second copy.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor, nn

from vqa.checklist import Checklist
from vqa.models.cogvlm2.config import Config, VisionConfig
from vqa.models.cogvlm2.engine import Engine
from vqa.models.cogvlm2.model import CogVLM2
from vqa.models.cogvlm2.prompt import Prompts

PROMPT = (
    "A brown horse gallops along a sandy beach at sunset while small waves break behind it and"
    " gulls circle above"
)
SPECIAL = ("<|begin_of_text|>", "<|end_of_text|>", "<|reserved_special_token_0|>")
# How the tokenizer of Llama-3 cuts text into pieces before it merges bytes.
PIECES = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def sizes(*, hidden: int, layers: int, image_size: int = 224) -> Config:
    """Sizes in the real proportions: heads of 128 and 112, four query heads to a key head.

    The tower has twice the layers of the decoder and 7/16 of its width. The special tokens stand at
    the start of a small vocabulary, so that its head keeps its small share of a pass.
    """
    width = hidden * 7 // 16
    return Config(
        experts=False,
        hidden_size=hidden,
        intermediate_size=hidden * 7 // 2,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 128,
        num_multi_query_heads=hidden // 512,
        vocab_size=4096,
        bos_token_id=0,
        eos_token_ids=(1,),
        pad_token_id=2,
        vision=VisionConfig(
            hidden_size=width,
            num_hidden_layers=2 * layers,
            num_heads=width // 112,
            intermediate_size=width * 60 // 7,
            image_size=image_size,
        ),
    )


SIZES = {
    "tiny": sizes(hidden=512, layers=1, image_size=56),
    "small": sizes(hidden=1024, layers=8),
    "12.5B": Config(experts=False, bos_token_id=0, eos_token_ids=(1,), pad_token_id=2),
}


def engine(config: Config, *, device: torch.device, dtype: torch.dtype) -> Engine:
    """Make an engine of these sizes."""
    model = network(config, device=device, dtype=dtype)
    return Engine.of(model, prompts(config), device=device)


def prompts(config: Config) -> Prompts:
    """Build prompts as VisionReward-Video does."""
    return Prompts(tokenizer(), config, "chat")


@torch.no_grad()
def network(config: Config, *, device: torch.device, dtype: torch.dtype) -> CogVLM2:
    """Random weights that keep the size of what passes through them."""
    with torch.device("meta"):
        model = CogVLM2(config)
    model = model.to(dtype).to_empty(device=device)
    torch.manual_seed(0)
    for name, tensor in model.state_dict().items():
        _fill(name, tensor)
    return model


def _fill(name: str, tensor: Tensor) -> None:
    if name.endswith("inv_freq"):
        tensor.copy_(500000.0 ** -(torch.arange(len(tensor)) / len(tensor)))
    elif tensor.ndim == 1:
        tensor.fill_(float("norm" in name and name.endswith("weight")))
    else:
        nn.init.normal_(tensor, std=math.prod(tensor.shape[1:]) ** -0.5)


@lru_cache
def tokenizer() -> Tokenizer:
    """Train a byte-level BPE on the checklist: as in that of Llama-3 a word is about one token."""
    made = Tokenizer(models.BPE())
    cut = pre_tokenizers.Split(Regex(PIECES), behavior="isolated")
    merge = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.pre_tokenizer = pre_tokenizers.Sequence([cut, merge])
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=4096,
        special_tokens=[*SPECIAL],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = [f"Question: {query} Answer:" for query in queries(64)]
    made.train_from_iterator([*texts, "yes no"], trainer)
    return made


def queries(count: int) -> list[str]:
    """The first so many questions of visionreward-video: its 29 with a weight, then the others."""
    sheet = Checklist.load("visionreward-video")
    others = [question for question in sheet.questions if question not in sheet.asked]
    return [question.render(PROMPT) for question in [*sheet.asked, *others][:count]]
