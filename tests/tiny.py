"""Models of CogVLM2 for tests, and the slow way through them: one question, one pass, no cache.

The slow way writes attention out in float64, head by head, so that it shares none of the engine's
packing, masks and kernels.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from tests.golden import DATA, tensors
from vqa.models.cogvlm2.config import Config, VisionConfig
from vqa.models.cogvlm2.decoder import Kinds
from vqa.models.cogvlm2.engine import Engine
from vqa.models.cogvlm2.model import CogVLM2
from vqa.models.cogvlm2.prompt import Prompts, Tokens

CPU = torch.device("cpu")


def golden_model(name: str, dtype: torch.dtype = torch.float32) -> CogVLM2:
    """A model of the golden recipe; in float32 it shares the weights of `tensors`."""
    return of_state(
        Config.read(DATA / name), {key: value.to(dtype) for key, value in tensors(name).items()}
    )


def golden_engine(
    name: str, dtype: torch.dtype = torch.float32, *, token_budget: int | None = None
) -> Engine:
    """The same with its prompts."""
    return engine_of(name, golden_model(name, dtype), token_budget=token_budget)


def engine_of(name: str, model: CogVLM2, *, token_budget: int | None = None) -> Engine:
    """An engine around a model that has the tokenizer of a golden one."""
    prompts = Prompts.load(DATA / name, model.config)
    return Engine.of(model, prompts, device=CPU, token_budget=token_budget)


def of_state(config: Config, state: dict[str, Tensor]) -> CogVLM2:
    """A model of these weights."""
    model = CogVLM2(config).requires_grad_(False)
    model.load_state_dict(state, assign=True)
    return model.eval()


def small_config(*, experts: bool, vocab_size: int = 50) -> Config:
    """Sizes at which a pass takes a millisecond; a picture is 4 + 2 tokens."""
    return Config(
        experts=experts,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_multi_query_heads=2,
        vocab_size=vocab_size,
        bos_token_id=1,
        eos_token_ids=(2,),
        pad_token_id=3,
        vision=VisionConfig(
            hidden_size=16, num_hidden_layers=1, num_heads=2, intermediate_size=24, image_size=56
        ),
    )


@lru_cache
def small_model(*, experts: bool) -> CogVLM2:
    """A model of `small_config` with random weights of a healthy size."""
    return random_model(small_config(experts=experts))


def random_model(config: Config, *, seed: int = 0) -> CogVLM2:
    """Weights that keep the size of what goes through: 1/sqrt(inputs) in linears, norms near 1."""
    draw = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in config.shapes().items():
        noise = torch.randn(shape, generator=draw)
        if name.endswith("inv_freq"):
            state[name] = 500000.0 ** (-torch.arange(shape[0]) / shape[0])
        elif "norm" in name:
            state[name] = 0.1 * noise + float(name.endswith("weight"))
        elif len(shape) > 1 and "embed" not in name:
            state[name] = noise / noise[0].numel() ** 0.5
        else:
            state[name] = noise / 2
    return of_state(config, state)


def exact_attention(layer: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Causal attention (n, heads, d), (n, kv heads, d) twice, as the definition says, in float64.

    Query head j looks at key head j // (heads / kv heads).
    """
    n, heads, size = queries.shape
    group = heads // keys.shape[1]
    q, k, v = (x.double().unbind(1) for x in (queries, keys, values))
    later = torch.ones(n, n, dtype=torch.bool).triu(1)
    mixed = []
    for head in range(heads):
        scores = (q[head] @ k[head // group].T / size**0.5).masked_fill(later, -torch.inf)
        mixed.append(scores.softmax(-1) @ v[head // group])
    return torch.stack(mixed, dim=1).to(queries.dtype)


def full_pass(model: CogVLM2, tokens: Tokens, features: Tensor) -> Tensor:
    """Every token through every layer at once -> (N, hidden), normalised.

    features -- what the tower made of the pictures, (pictures, tokens, hidden).
    """
    hidden, vision = model.embed(torch.tensor(tokens.ids)), torch.tensor(tokens.vision)
    hidden[vision] = features.flatten(0, 1)
    kinds = None
    if model.config.experts:
        expert = vision & torch.cat((vision[1:], torch.tensor([False])))
        kinds = Kinds(expert.nonzero()[:, 0], (~expert).nonzero()[:, 0])
    positions, rows = torch.tensor(tokens.positions), torch.arange(len(tokens))
    return model.decode(hidden, positions, exact_attention, kinds=kinds, rows=rows)


def greedy(model: CogVLM2, tokens: Tokens, features: Tensor, count: int) -> list[int]:
    """The likeliest `count` tokens after a prompt, everything computed from scratch each time."""
    found: list[int] = []
    for _ in range(count):
        longer = Tokens.joined([tokens, Tokens.text(found)])
        found.append(int(model.logits(full_pass(model, longer, features)[-1:])[0].argmax()))
    return found
