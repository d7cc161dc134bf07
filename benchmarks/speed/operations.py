"""Counts the floating point operations of CogVLM2: 2 m n k for every product of matrices.

Products are those of the linear layers, the convolutions and attention; a query counts the keys it
may see and no others. Norms, activations and rotations are left out: below 1 % at 12.5B.
"""

from __future__ import annotations

from collections.abc import Sequence

from vqa.models.cogvlm2.config import Config

ANSWERS = 2  # logits that are read of a packed question: yes and no


def naive(config: Config, *, pictures: int, prompts: Sequence[int]) -> int:
    """One full pass per prompt of so many tokens: pictures, all layers, the whole vocabulary.

    Logits at the last position only. The released code computes them at every position, 2 % more
    for 7 frames, and then one more pass over a single token; neither is counted or timed here.
    """
    head = 2 * config.hidden_size * config.vocab_size
    return sum(
        see(config, pictures) + think(config, tokens, _causal(tokens)) + head for tokens in prompts
    )


def packed(config: Config, *, pictures: int, head: int, tails: Sequence[int]) -> int:
    """One clip once: its pictures, its head of so many tokens, and its questions behind it.

    The last MLP sees the last token of each question, and the head two words of the vocabulary.
    """
    tokens, pairs = head + sum(tails), _causal(head) + sum(head * n + _causal(n) for n in tails)
    unwanted = (tokens - len(tails)) * 2 * _mlp(config)
    answers = len(tails) * 2 * config.hidden_size * ANSWERS
    return see(config, pictures) + think(config, tokens, pairs) - unwanted + answers


def see(config: Config, pictures: int) -> int:
    """Pictures through the tower, the 2x2 convolution and the projector."""
    tower = config.vision
    width, rows, patches = tower.hidden_size, tower.num_positions, tower.side**2
    embed = 2 * patches * width * tower.in_channels * tower.patch_size**2
    block = 2 * rows * (4 * width**2 + 2 * width * tower.intermediate_size) + 4 * rows**2 * width
    hidden, inner = config.hidden_size, config.intermediate_size
    project = 2 * (patches // 4) * (4 * width**2 + width * hidden + 3 * hidden * inner)
    return pictures * (embed + tower.num_hidden_layers * block + project)


def think(config: Config, tokens: int, pairs: int) -> int:
    """So many tokens through the decoder, with so many pairs of a query and a key it sees."""
    hidden = config.hidden_size
    weights = 2 * hidden * (hidden + config.kv_size) + _mlp(config)
    return config.num_hidden_layers * (2 * tokens * weights + 4 * pairs * hidden)


def _mlp(config: Config) -> int:
    return 3 * config.hidden_size * config.intermediate_size


def _causal(tokens: int) -> int:
    return tokens * (tokens + 1) // 2
