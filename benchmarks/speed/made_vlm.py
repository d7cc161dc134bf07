"""A vision-language model made of nothing: the shape of Qwen2.5-VL, a tokenizer, random weights."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from benchmarks.speed.made import PIECES, queries
from vqa.models.vlm.engine import CPU_TOKENS, GPU_TOKENS, Engine
from vqa.models.vlm.packing import Packer
from vqa.models.vlm.prompts import Prompts

library: Any = transformers  # half of it has types, which demand more than it does
PROCESSOR = "Qwen2_5_VLProcessor"
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>"]
PADS = ["<|image_pad|>", "<|video_pad|>"]
TEMPLATE = (
    "<|im_start|>user\n{% for part in messages[0]['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}<|im_end|>\n<|im_start|>assistant\n"
)
# Width, layers of the decoder; the tower has 5/14 of the width and as many layers and a third more.
SIZES = {"tiny": (128, 2), "small": (768, 6), "medium": (1024, 12)}
WORDS = 4096


def engine(size: str, *, device: torch.device, dtype: torch.dtype) -> Engine:
    """Make an engine of this size."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ids = _files(folder)
        config = _config(*SIZES[size], ids)
        prompts = Prompts.load(folder, config)
    torch.manual_seed(0)
    model = library.AutoModelForImageTextToText.from_config(config, dtype=dtype)
    budget = CPU_TOKENS if device.type == "cpu" else GPU_TOKENS
    yes, no = prompts.spellings(WORDS)
    return Engine(prompts, Packer(model.to(device).eval(), device, budget), yes, no)


def _config(hidden: int, layers: int, ids: dict[str, int]) -> Any:
    """Proportions of the 7B: seven query heads to a key head, an MLP of 5.3 times the width."""
    head, width = hidden // 8, hidden * 5 // 14 // 16 * 16
    return library.Qwen2_5_VLConfig(
        text_config=dict(
            vocab_size=WORDS,
            bos_token_id=0,
            eos_token_id=0,
            hidden_size=hidden,
            intermediate_size=hidden * 16 // 3,
            num_hidden_layers=layers,
            num_attention_heads=8,
            num_key_value_heads=1,
            max_position_embeddings=32768,
            rope_parameters={
                "rope_type": "default",
                "mrope_section": [head // 2 - 2 * (head // 6), head // 6, head // 6],
            },
        ),
        vision_config=dict(
            depth=layers * 4 // 3,
            hidden_size=width,
            intermediate_size=width * 8 // 3,
            num_heads=4,
            out_hidden_size=hidden,
            fullatt_block_indexes=[layers * 4 // 3 - 1],
        ),
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
    )


def _files(folder: Path) -> dict[str, int]:
    """Write tokenizer, chat template and how pictures are prepared; give the ids."""
    made = Tokenizer(models.BPE())
    cut = pre_tokenizers.Split(Regex(PIECES), behavior="isolated")
    merge = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.pre_tokenizer = pre_tokenizers.Sequence([cut, merge])
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=WORDS,
        special_tokens=[*SPECIAL, *PADS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator([*queries(64), "Yes No yes no user assistant"] * 9, trainer)
    made.save(str(folder / "tokenizer.json"))
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    tokenizer = {"tokenizer_class": "PreTrainedTokenizerFast", "processor_class": PROCESSOR}
    pictures = {
        "image_processor_type": "Qwen2VLImageProcessor",
        "processor_class": PROCESSOR,
        "min_pixels": 56 * 56,
        "max_pixels": 1280 * 28 * 28,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    (folder / "preprocessor_config.json").write_text(json.dumps(pictures))
    vocabulary: dict[str, int] = made.get_vocab()
    return vocabulary
