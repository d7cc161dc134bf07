"""Memory that a CogVLM2 needs, counted from its sizes: weights, kept keys and values, a pass.

    weights    every tensor of the checkpoint in its stored form (`is_quantised` says which)
    cache      keys and values of one clip's head, where its questions take several passes
    working    the largest set of intermediate results alive at once, in the tower or the decoder
    overhead   what the driver, its libraries and the gaps between allocations take on a card

Needs no torch: a published model is counted in a few milliseconds. What fits a machine is told by
`fitting`.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from vqa.models.cogvlm2.config import Config, Shape
from vqa.models.sizes import DTYPE_BYTES, Quantize, plain_bytes, quantised_bytes

# A smaller matrix would save less than 6 kB in 4 bits, and cost accuracy all the same.
SMALLEST_QUANTISED = 4096
# CUDA context and libraries about 0.5 GB, the rest for gaps between allocations.
OVERHEAD = 1_000_000_000
GROUP_TOKENS = 384  # `attention.GROUP_TOKENS`, which cannot be read without torch

_LAYERS = ("model.layers.", "model.vision.transformer.layers.")


def is_quantised(name: str, shape: Shape) -> bool:
    """Tell whether a tensor of the checkpoint is stored in 8 or 4 bits when that is asked for.

    The matrices of the decoder's and of the tower's layers are: 90 % of the video model's weights,
    94 % of the image model's. The others stay as they are. The projector has no residual path: all
    that is seen goes through its four matrices in a row, and in 4 bits they alone put an error of
    a fifth on it (the whole tower: 4 %; random weights), to save 0.3 GB. `lm_head` turns its error
    into an error of the answer, and is read two rows at a time. Tables (`embed_tokens`,
    positions) are looked up and not multiplied, convolutions have no such kernel. Norms, biases,
    boi and eoi are small, and scale or shift everything.
    """
    return (
        name.startswith(_LAYERS)
        and name.endswith(".weight")
        and len(shape) == 2
        and prod(shape) >= SMALLEST_QUANTISED
    )


@dataclass(frozen=True, slots=True)
class Task:
    """What is judged at once: the pictures of a clip, and questions of so many tokens each.

    A question of VisionReward has 10 to 20 tokens with its template; those three that quote the
    prompt have as many more as the prompt. 40 on average leaves room for prompts of 200.
    """

    pictures: int
    questions: int
    question_tokens: int = 40

    @classmethod
    def usual(cls, config: Config) -> Task:
        """What VisionReward asks: 29 questions about 24 frames, or 30 about a picture."""
        return cls(pictures=1, questions=30) if config.experts else cls(pictures=24, questions=29)

    def head_tokens(self, config: Config) -> int:
        """BOS, per picture its tokens and (video) its number, and "Question:"."""
        return 3 + self.pictures * (config.vision.tokens + (not config.experts))

    def tokens(self, config: Config) -> int:
        """Tokens of the whole pass."""
        return self.head_tokens(config) + self.questions * self.question_tokens


def weights_bytes(
    config: Config, *, dtype: str = "bfloat16", quantize: Quantize | None = None
) -> int:
    """Bytes of all tensors of the checkpoint once loaded."""
    return sum(
        stored_bytes(name, shape, dtype, quantize) for name, shape in config.shapes().items()
    )


def stored_bytes(name: str, shape: Shape, dtype: str, quantize: Quantize | None) -> int:
    """Bytes of one tensor of the checkpoint once loaded."""
    if quantize and is_quantised(name, shape):
        return quantised_bytes(shape, quantize)
    return plain_bytes(shape, dtype)


def cache_bytes(config: Config, *, tokens: int, dtype: str = "bfloat16") -> int:
    """Bytes of the keys and values of so many tokens in all layers."""
    return tokens * config.num_hidden_layers * 2 * config.kv_size * DTYPE_BYTES[dtype]


def working_bytes(
    config: Config,
    *,
    tokens: int,
    pictures: int,
    dtype: str = "bfloat16",
    quantize: Quantize | None = None,
) -> int:
    """Bytes of the intermediate results of a pass at its peak.

    tokens -- of the decoder in one pass; pictures -- that go through the tower together. With
    quantised weights the largest matrix is there once more, unpacked.
    """
    size = DTYPE_BYTES[dtype]
    states = size * tokens * config.hidden_size
    features = size * pictures * config.vision.tokens * config.hidden_size
    seeing = states + _tower_bytes(config, pictures, size)
    thinking = states + features + _decoder_bytes(config, tokens, size)
    return max(seeing, thinking) + (size * _largest_matrix(config) if quantize else 0)


def peak_bytes(
    config: Config,
    *,
    dtype: str = "bfloat16",
    quantize: Quantize | None = None,
    task: Task | None = None,
) -> int:
    """Bytes on a card that holds the model and judges a clip; `task` None is VisionReward's."""
    return (
        weights_bytes(config, dtype=dtype, quantize=quantize)
        + _beside_weights(config, dtype, quantize, task)
        + OVERHEAD
    )


def offload_bytes(config: Config, *, dtype: str = "bfloat16", task: Task | None = None) -> int:
    """Bytes on a card to which one module at a time comes from the CPU's memory and goes again."""
    shapes = config.shapes()
    layers = [name for name in shapes if name.startswith("model.layers.0.")]
    layer = sum(plain_bytes(shapes[name], dtype) for name in layers)
    table = plain_bytes(shapes["model.embed_tokens.weight"], dtype)
    return max(layer, table) + _beside_weights(config, dtype, None, task) + OVERHEAD


def _beside_weights(
    config: Config, dtype: str, quantize: Quantize | None, task: Task | None
) -> int:
    task = task or Task.usual(config)
    return cache_bytes(config, tokens=task.head_tokens(config), dtype=dtype) + working_bytes(
        config, tokens=task.tokens(config), pictures=task.pictures, dtype=dtype, quantize=quantize
    )


def _tower_bytes(config: Config, pictures: int, size: int) -> int:
    """At GELU: its input and output, the first, last and present states; and the pixels."""
    tower = config.vision
    rows = pictures * tower.num_positions
    pixels = pictures * tower.in_channels * tower.image_size**2
    states = 2 * tower.intermediate_size + 3 * tower.hidden_size
    return size * (rows * states + pixels)


def _decoder_bytes(config: Config, tokens: int, size: int) -> int:
    """At the product of gate and up, or in attention, besides the states the pass began with."""
    hidden, inner = config.hidden_size, config.intermediate_size
    by_kind = hidden if config.experts else 0  # the rows of one kind, copied out
    gated = size * tokens * (3 * inner + 3 * hidden + by_kind)
    # Present and normalised states, fused and turned queries, keys and values, what was mixed.
    mixing = size * tokens * (5 * hidden + 4 * config.kv_size + by_kind)
    # With a mask and grouped queries CUDA has no fused kernel: float32 scores, masked, and softmax.
    scores = 12 * min(tokens, GROUP_TOKENS) * tokens * config.num_attention_heads
    return max(gated, mixing + scores)


def _largest_matrix(config: Config) -> int:
    return max(prod(shape) for name, shape in config.shapes().items() if is_quantised(name, shape))
