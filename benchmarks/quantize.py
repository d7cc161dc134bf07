"""What rounding costs: P(yes) in bfloat16, int8 and int4 against float32, and the memory of each.

    python -m benchmarks quantize [--json] [--clips 2] [--frames 7] [--hidden 512] [--layers 6]

One model is made here of random weights, in the proportions of the published one, and asked 29
questions about each of a few made clips, in every form from the same float32 weights. Its head is
scaled so that the two answers differ by about 2 in their logits, as answers of a trained model do;
P(yes) then covers the whole range. Eight pairs of tokens stand for yes and no in turn. Weights of a
trained model have heavier tails than normal ones, and most of its answers are clearer: the numbers
compare the forms with each other, and say how large a difference to expect, not what it will be.

"int8, float32" multiplies rounded weights in float32 and so shows the rounding of weights alone;
"int8, bfloat16" is what runs. Uses a GPU where there is one.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from features.synthetic import Scene, render
from vqa.models.cogvlm2.config import Config, VisionConfig
from vqa.models.cogvlm2.memory import is_quantised, weights_bytes
from vqa.models.cogvlm2.model import CogVLM2
from vqa.models.cogvlm2.packing import Packer, Work
from vqa.models.cogvlm2.pixels import video_pixels
from vqa.models.cogvlm2.prompt import Tokens
from vqa.models.quantize import held_bytes, quantize_layers
from vqa.models.sizes import Quantize

F64 = npt.NDArray[np.float64]

QUESTIONS, QUESTION_TOKENS, VOCABULARY = 29, 18, 1000
PAIRS = 8  # of tokens that stand for yes and no, so that neither is favoured by chance
LOGIT_SPREAD = 2.0
BUDGET = 4096
FORMS: tuple[tuple[str, Quantize | None], ...] = (
    ("bfloat16", None),
    ("float32", "int8"),
    ("float32", "int4"),
    ("bfloat16", "int8"),
    ("bfloat16", "int4"),
)


@dataclass(frozen=True, slots=True)
class Form:
    """One way to hold the model: how far its P(yes) are from float32, and what it weighs."""

    dtype: str
    quantize: str | None
    mean_dp: float
    largest_dp: float
    same_answer: float
    held_bytes: int
    counted_bytes: int


def forms(*, clips: int, frames: int, hidden: int, layers: int) -> Iterator[Form]:
    """One row per form, as it is measured."""
    config = sizes(hidden=hidden, layers=layers)
    model, works = made_model(config), made_works(config, clips=clips, frames=frames)
    exact = p_yes(model, works)
    for dtype, quantize in FORMS:
        other = copy.deepcopy(model)
        if quantize:  # from the float32 weights, so that they are rounded once
            quantize_layers(other, quantize, wanted=is_quantised)
        other = other.to(getattr(torch, dtype))
        found = p_yes(other, works)
        yield Form(
            dtype=dtype,
            quantize=quantize,
            mean_dp=float(np.abs(found - exact).mean()),
            largest_dp=float(np.abs(found - exact).max()),
            same_answer=float(((found > 0.5) == (exact > 0.5)).mean()),
            held_bytes=held_bytes(other),
            counted_bytes=weights_bytes(config, dtype=dtype, quantize=quantize),
        )


def print_report(
    *, clips: int = 2, frames: int = 7, hidden: int = 512, layers: int = 6, as_json: bool = False
) -> None:
    """Print a table, or an object per line."""
    if not as_json:
        weights = sizes(hidden=hidden, layers=layers).num_parameters / 1e6
        print(f"{weights:.0f} M weights, {clips} clips of {frames} frames, {QUESTIONS} questions")
        print("weights   computed in  mean |dP|  largest  same answer  MB held  MB counted")
    for form in forms(clips=clips, frames=frames, hidden=hidden, layers=layers):
        if as_json:
            print(json.dumps(asdict(form)), flush=True)
        else:
            print(_line(form), flush=True)


def sizes(*, hidden: int, layers: int) -> Config:
    """Sizes in the proportions of the published model; heads of 64."""
    width = hidden // 2
    return Config(
        experts=False,
        hidden_size=hidden,
        intermediate_size=hidden * 7 // 2,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 64,
        num_multi_query_heads=hidden // 256,
        vocab_size=VOCABULARY,
        vision=VisionConfig(
            hidden_size=width,
            num_hidden_layers=layers,
            num_heads=width // 64,
            intermediate_size=width * 60 // 7,
        ),
    )


def made_model(config: Config, *, seed: int = 0) -> CogVLM2:
    """A float32 model of random weights that keep the size of what passes through them.

    What a branch adds to its residual stream is scaled down by the number of branches, as networks
    are initialised (Radford et al., GPT-2, section 2.3).
    """
    with torch.device("meta"):
        model = CogVLM2(config)
    model = model.to_empty(device="cpu").eval()
    torch.manual_seed(seed)
    for name, tensor in model.state_dict().items():
        _fill(name, tensor, branches=2 * config.num_hidden_layers)
    nn.init.normal_(model.lm_head.weight, std=LOGIT_SPREAD / math.sqrt(2 * config.hidden_size))
    return model


def _fill(name: str, tensor: Tensor, *, branches: int) -> None:
    norm = "norm" in name and name.endswith("weight")
    if name.endswith("inv_freq"):
        steps = torch.arange(len(tensor)) / len(tensor)
        tensor.copy_((500000.0**-steps).bfloat16())  # as the checkpoints store it
    elif tensor.ndim == 1:
        tensor.fill_(float(norm))
    else:
        nn.init.normal_(tensor, std=1.0 if "embed" in name else math.prod(tensor.shape[1:]) ** -0.5)
    adds = ("language_expert_dense.weight", "down_proj.weight")
    if name.endswith(adds) or (norm and "vision.transformer" in name):
        tensor.mul_(branches**-0.5)


def made_works(config: Config, *, clips: int, frames: int) -> list[Work]:
    """Clips that pan over different textures, and the same random questions about each."""
    rng = np.random.default_rng(0)
    ids = rng.integers(20, VOCABULARY, (QUESTIONS, QUESTION_TOKENS)).tolist()
    size = config.vision.tokens
    head = Tokens(
        (1, *((2,) * size + (3,)) * frames), (False, *((True,) * size + (False,)) * frames)
    )
    scenes = [Scene(frames=frames, pan_px=(3.0, clip), seed=clip) for clip in range(clips)]
    side = config.vision.image_size
    return [
        Work(video_pixels(render(scene), side), head, [Tokens.text(tail) for tail in ids])
        for scene in scenes
    ]


def p_yes(model: CogVLM2, works: list[Work]) -> F64:
    """P(yes) of every question about every clip, for every pair (clips, questions, pairs)."""

    def readout(states: Tensor) -> Tensor:
        answers = model.logits(states, range(2 * PAIRS)).view(-1, PAIRS, 2)
        return answers.softmax(dim=-1)[..., 0]

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    found = Packer(model.to(device), device, BUDGET).run(works, readout)
    return np.array([[values.numpy() for values in clip] for clip in found], dtype=np.float64)


def _line(form: Form) -> str:
    return (
        f"{form.quantize or form.dtype:<9} {form.dtype:<11} {form.mean_dp:10.4f} "
        f"{form.largest_dp:8.4f} {form.same_answer:11.1%} {form.held_bytes / 1e6:9.1f} "
        f"{form.counted_bytes / 1e6:11.1f}"
    )
