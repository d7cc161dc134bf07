"""Vision-language models of nothing: random weights, a small tokenizer, all files that one has.

Each is written as published ones are, and loaded through the same code as they.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from vqa.checklist import Checklist

made: Any = transformers  # half of it has types, which demand more than it does
TEXTS = [question.text for question in Checklist.load("visionreward-video").questions]
WORDS = ["yes", "Yes", "YES", " yes", " Yes", "no", "No", "NO", " no", " No"]
IMAGE_STATS = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}

QWEN_SPECIAL = [
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>"),
    *("<|image_pad|>", "<|video_pad|>"),
]
QWEN_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif part['type'] == 'video' %}<|vision_start|><|video_pad|><|vision_end|>"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SMOL_SPECIAL = [
    *("<|im_start|>", "<end_of_utterance>", "<fake_token_around_image>", "<image>"),
    "<global-img>",
    *(f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)),
]
SMOL_TEMPLATE = (
    "<|im_start|>{% for message in messages %}{{ message['role'] | capitalize }}:"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% elif part['type'] == 'video' %}<video>"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}<end_of_utterance>\n{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)
LLAVA_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] | upper }}: "
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>\n{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %} {% endfor %}{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)
INTERN_SPECIAL = ["<|im_start|>", "<|im_end|>", "<img>", "</img>", "<IMG_CONTEXT>", "<video>"]
INTERN_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<IMG_CONTEXT>\n{% elif part['type'] == 'video' %}<video>\n"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


PALI_TEMPLATE = (
    "{% for message in messages %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endfor %}"
)


def smolvlm(folder: Path, **text: Any) -> Path:
    """SmolVLM2: pictures of 32 px, 4 tokens each; split into tiles when they come alone."""
    ids = _tokenizer(folder, "SmolVLMProcessor", SMOL_SPECIAL, SMOL_TEMPLATE)
    config = made.SmolVLMConfig(
        text_config={"model_type": "llama", **_text(ids), **text},
        vision_config=dict(
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=32,
            patch_size=8,
        ),
        image_token_id=ids["<image>"],
        scale_factor=2,
        pad_token_id=0,
    )
    _write(
        folder / "preprocessor_config.json",
        {
            **{"image_processor_type": "SmolVLMImageProcessor", **IMAGE_STATS},
            **{"processor_class": "SmolVLMProcessor", "do_image_splitting": True},
            "size": {"longest_edge": 64},
            "max_image_size": {"longest_edge": 32},
            "video_sampling": {"fps": 1, "max_frames": 64, "video_size": {"longest_edge": 32}},
        },
    )
    _write(
        folder / "processor_config.json",
        {"processor_class": "SmolVLMProcessor", "image_seq_len": 4},
    )
    return _weights(config, folder)


def qwen2_5_vl(folder: Path, **text: Any) -> Path:
    """Qwen2.5-VL: 14 px patches merged 2x2, windows in the tower, three-part rotary positions."""
    ids = _tokenizer(folder, "Qwen2_5_VLProcessor", QWEN_SPECIAL, QWEN_TEMPLATE)
    config = made.Qwen2_5_VLConfig(
        text_config=_text(ids)
        | {"rope_parameters": {"rope_type": "default", "mrope_section": [2, 1, 1]}}
        | text,
        vision_config=dict(
            depth=2,
            hidden_size=32,
            intermediate_size=48,
            num_heads=2,
            out_hidden_size=32,
            window_size=56,
            fullatt_block_indexes=[1],
        ),
        **_qwen_ids(ids),
    )
    _qwen_pictures(folder, "Qwen2_5_VLProcessor", patch=14)
    return _weights(config, folder)


def qwen3_vl(folder: Path) -> Path:
    """Qwen3-VL: what several layers of the tower saw is added in the first layers of the text."""
    ids = _tokenizer(folder, "Qwen3VLProcessor", QWEN_SPECIAL, QWEN_TEMPLATE)
    config = made.Qwen3VLConfig(
        text_config=_text(ids)
        | {"head_dim": 8, "rope_parameters": {"rope_type": "default", "mrope_section": [2, 1, 1]}},
        vision_config=dict(
            depth=2,
            hidden_size=32,
            intermediate_size=48,
            num_heads=2,
            out_hidden_size=32,
            patch_size=16,
            num_position_embeddings=16,
            deepstack_visual_indexes=[0],
        ),
        **_qwen_ids(ids),
    )
    _qwen_pictures(folder, "Qwen3VLProcessor", patch=16)
    return _weights(config, folder)


def internvl(folder: Path) -> Path:
    """InternVL: pictures of 28 px, one token for 4 patches; split into tiles when alone."""
    ids = _tokenizer(
        folder,
        "InternVLProcessor",
        INTERN_SPECIAL,
        INTERN_TEMPLATE,
        extra={
            "start_image_token": "<img>",
            "end_image_token": "</img>",
            "context_image_token": "<IMG_CONTEXT>",
            "video_token": "<video>",
        },
    )
    config = made.InternVLConfig(
        text_config={"model_type": "qwen2", **_text(ids)},
        vision_config=dict(
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=[28, 28],
            patch_size=[7, 7],
        ),
        image_token_id=ids["<IMG_CONTEXT>"],
        image_seq_length=4,
    )
    _write(
        folder / "preprocessor_config.json",
        {
            **{"image_processor_type": "GotOcr2ImageProcessor", **IMAGE_STATS},
            **{"processor_class": "InternVLProcessor", "crop_to_patches": True},
            "size": {"height": 28, "width": 28},
        },
    )
    _write(
        folder / "processor_config.json",
        {"processor_class": "InternVLProcessor", "image_seq_length": 4},
    )
    return _weights(config, folder)


def llava(folder: Path, **text: Any) -> Path:
    """LLaVA-1.5: a CLIP tower, a sentencepiece-like tokenizer with its marks for spaces."""
    ids = _tokenizer(folder, "LlavaProcessor", ["<image>"], LLAVA_TEMPLATE, marks=True)
    config = made.LlavaConfig(
        text_config={"model_type": "llama", **_text(ids), **text},
        vision_config=dict(
            model_type="clip_vision_model",
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=28,
            patch_size=14,
            projection_dim=32,
        ),
        image_token_index=ids["<image>"],
        image_seq_length=4,
    )
    _write(
        folder / "preprocessor_config.json",
        {
            **{"image_processor_type": "CLIPImageProcessor", **IMAGE_STATS},
            **{"size": {"shortest_edge": 28}, "crop_size": {"height": 28, "width": 28}},
            "processor_class": "LlavaProcessor",
        },
    )
    _write(
        folder / "processor_config.json",
        {
            **{"processor_class": "LlavaProcessor", "patch_size": 14},
            **{"vision_feature_select_strategy": "default", "num_additional_image_tokens": 1},
        },
    )
    return _weights(config, folder)


def qwen3_5(folder: Path) -> Path:
    """Qwen3.5: every second layer is linear attention, whose state is overwritten."""
    ids = _tokenizer(folder, "Qwen3VLProcessor", QWEN_SPECIAL, QWEN_TEMPLATE)
    rope = {"rope_type": "default", "mrope_section": [1, 0, 0], "partial_rotary_factor": 0.25}
    config = made.Qwen3_5Config(
        text_config=_text(ids)
        | dict(
            num_hidden_layers=4,
            full_attention_interval=2,
            head_dim=8,
            linear_num_value_heads=2,
            linear_num_key_heads=2,
            linear_key_head_dim=8,
            linear_value_head_dim=8,
            rope_parameters=rope | {"rope_theta": 10000.0},
        ),
        vision_config=dict(
            depth=2,
            hidden_size=32,
            intermediate_size=48,
            num_heads=2,
            out_hidden_size=32,
            patch_size=16,
            num_position_embeddings=16,
        ),
        **_qwen_ids(ids),
    )
    _qwen_pictures(folder, "Qwen3VLProcessor", patch=16)
    return _weights(config, folder)


def paligemma(folder: Path) -> Path:
    """PaliGemma: all of the prompt sees all of it, so that questions cannot share a head."""
    ids = _tokenizer(folder, "PaliGemmaProcessor", ["<bos>", "<image>"], PALI_TEMPLATE)
    tower = dict(
        model_type="siglip_vision_model",
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=28,
        patch_size=14,
        num_image_tokens=4,
        projection_dim=32,
        vision_use_head=False,
    )
    config = made.PaliGemmaConfig(
        text_config={"model_type": "gemma", **_text(ids), "head_dim": 8},
        vision_config=tower,
        image_token_index=ids["<image>"],
        projection_dim=32,
    )
    _write(
        folder / "preprocessor_config.json",
        {
            **{"image_processor_type": "SiglipImageProcessor", **IMAGE_STATS},
            **{"size": {"height": 28, "width": 28}, "image_seq_length": 4},
        },
    )
    return _weights(config, folder)


def _text(ids: dict[str, int]) -> dict[str, Any]:
    """Sizes of the decoder."""
    return dict(
        vocab_size=max(ids.values()) + 1,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=0,
    )


def _qwen_ids(ids: dict[str, int]) -> dict[str, int]:
    return {
        "image_token_id": ids["<|image_pad|>"],
        "video_token_id": ids["<|video_pad|>"],
        "vision_start_token_id": ids["<|vision_start|>"],
        "vision_end_token_id": ids["<|vision_end|>"],
    }


def _qwen_pictures(folder: Path, processor: str, *, patch: int) -> None:
    side = 2 * patch
    _write(
        folder / "preprocessor_config.json",
        {
            **{"image_processor_type": "Qwen2VLImageProcessor", **IMAGE_STATS},
            **{"processor_class": processor, "patch_size": patch},
            **{"min_pixels": side * side, "max_pixels": 6 * side * side},
            **{"temporal_patch_size": 2, "merge_size": 2},
        },
    )


def _tokenizer(
    folder: Path,
    processor: str,
    special: list[str],
    template: str,
    *,
    marks: bool = False,
    extra: dict[str, str] | None = None,
) -> dict[str, int]:
    """Write a BPE trained on the checklist, with several spellings of yes and no; give its ids."""
    bpe = Tokenizer(models.BPE(unk_token="<unk>" if marks else None))
    if marks:
        bpe.normalizer = normalizers.Sequence(
            [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
        )
        alphabet: list[str] = []
    else:
        bpe.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(r" ?\p{L}+| ?[^\s\p{L}]+|\s+"), "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
        bpe.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=(["<unk>"] if marks else []) + special,
        initial_alphabet=alphabet,
        show_progress=False,
    )
    bpe.train_from_iterator([*TEXTS, *(WORDS * 50), "user assistant USER ASSISTANT"], trainer)
    folder.mkdir(parents=True, exist_ok=True)
    bpe.save(str(folder / "tokenizer.json"))
    _write(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "processor_class": processor,
            "additional_special_tokens": special,
            "pad_token": special[0],
            **({"bos_token": "<bos>"} if "<bos>" in special else {}),
            **({"extra_special_tokens": extra} if extra else {}),
        },
    )
    (folder / "chat_template.jinja").write_text(template)
    vocabulary: dict[str, int] = bpe.get_vocab()
    return vocabulary


@torch.no_grad()
def _weights(config: Any, folder: Path) -> Path:
    """Draw weights that let through what goes in, and write them."""
    draw = torch.Generator().manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = made.AutoModelForImageTextToText.from_config(config)
    for name, weight in model.named_parameters():
        if weight.ndim > 1:
            fan = weight[0].numel() if "embed" not in name else 1
            weight.copy_(torch.randn(weight.shape, generator=draw) / fan**0.5)
        elif "norm" not in name:
            weight.copy_(torch.randn(weight.shape, generator=draw) / 10)
    model.save_pretrained(folder)
    return folder


def _write(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
