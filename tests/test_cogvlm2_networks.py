"""The networks of CogVLM2 against what the reference recorded, stage by stage, pass by pass."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.golden import DATA, IMAGE, VIDEO, golden, medium
from tests.tiny import full_pass, golden_model, random_model, small_config, small_model
from vqa.models.cogvlm2.config import Config
from vqa.models.cogvlm2.decoder import Kinds, Layer, RMSNorm, Rotary
from vqa.models.cogvlm2.model import CogVLM2
from vqa.models.cogvlm2.pixels import image_pixels, video_pixels
from vqa.models.cogvlm2.prompt import Prompts, Tokens

pytestmark = pytest.mark.usefixtures("one_thread")

MEDIA = [(name, key) for name in (VIDEO, IMAGE) for key in golden(name)["media"]]
QUESTIONS = [
    (name, key, number)
    for name, key in MEDIA
    for number in range(len(golden(name)["media"][key]["questions"]))
]
TOLERANCE = golden(VIDEO)["tolerance"]
FP32, BF16 = TOLERANCE["fp32"], TOLERANCE["bf16"]
STAGES_ATOL = 1e-4  # a value of a stage is up to 10; the recordings give none
model = lru_cache(golden_model)


@lru_cache
def _features(name: str, key: str, dtype: torch.dtype = torch.float32) -> Tensor:
    return model(name, dtype).see(_pixels(name, key).to(dtype))


@lru_cache
def _pixels(name: str, key: str) -> Tensor:
    frames = medium(name, key)
    return video_pixels(frames, 224) if name == VIDEO else image_pixels(frames[0], 112)[None]


def _tokens(name: str, query: str, pictures: int, template: str | None = None) -> Tokens:
    config = Config.read(DATA / name)
    prompts = Prompts.load(DATA / name, config, template=template)
    return Tokens.joined([prompts.head(pictures), prompts.tail(query)])


@contextmanager
def _watched(network: CogVLM2) -> Iterator[dict[str, Tensor]]:
    """Keep what goes into every layer of the decoder and what comes out of the final norm."""
    seen: dict[str, Tensor] = {}

    def keep(stage: str) -> Any:
        def hook(_: object, given: tuple[Tensor, ...], out: Tensor | None = None) -> None:
            seen[stage] = (given[0] if out is None else out).clone()

        return hook

    hooks = [
        layer.register_forward_pre_hook(keep(f"input_of_layer_{number}"))
        for number, layer in enumerate(network.model.layers)
    ]
    hooks.append(network.model.norm.register_forward_hook(keep("after_final_norm")))
    yield seen
    for hook in hooks:
        hook.remove()


def _close(found: Tensor, expected: object, atol: float) -> None:
    torch.testing.assert_close(
        found.double(), torch.tensor(expected, dtype=torch.float64), rtol=0, atol=atol
    )


def _says(logits: Tensor, expected: dict[str, Any], name: str, tolerance: dict[str, float]) -> None:
    """Check the logits (vocabulary,) of one answer against a recorded one."""
    ids = golden(name)["token_ids"]
    pair = logits[[ids["yes"], ids["no"]]]
    _close(pair, [expected["yes_logit"], expected["no_logit"]], tolerance["logit_atol"])
    _close(pair.softmax(0)[0], expected["p_yes"], tolerance["p_yes_atol"])


@pytest.mark.parametrize(("name", "key"), MEDIA)
def test_vision_features_are_those_of_the_reference(name: str, key: str) -> None:
    expected, atol = golden(name)["media"][key]["vision_features"], FP32["vision_features_atol"]
    features = _features(name, key)
    assert list(features.shape) == expected["shape"]
    _close(
        features.flatten()[expected["samples"]["flat_index"]], expected["samples"]["value"], atol
    )
    _close(features.flatten()[:8], expected["first8"], atol)
    wide = features.double()
    sums = torch.stack((wide.mean(), wide.std(correction=0), wide.min(), wide.max()))
    _close(sums, [expected[key] for key in ("mean", "std", "min", "max")], atol)


@pytest.mark.parametrize(("name", "key"), MEDIA)
def test_all_vision_features_are_those_of_the_reference(name: str, key: str, shared: Path) -> None:
    expected = np.load(shared / "golden" / name / "vision_features.npz")[key]
    features = _features(name, key)
    np.testing.assert_allclose(
        features.numpy(), expected, rtol=0, atol=FP32["vision_features_atol"]
    )


@pytest.mark.parametrize(("name", "key"), MEDIA)
def test_vision_features_in_bfloat16_are_near(name: str, key: str) -> None:
    expected = golden(name)["media"][key]["vision_features_bf16"]
    features = _features(name, key, torch.bfloat16)
    _close(features.flatten()[:8], expected["first8"], 0.05)
    assert float(features.double().abs().sum()) == pytest.approx(expected["abs_sum"], rel=0.01)


@pytest.mark.parametrize(("name", "key", "number"), QUESTIONS)
def test_a_full_pass_says_what_the_reference_says(name: str, key: str, number: int) -> None:
    question = golden(name)["media"][key]["questions"][number]
    expected, network, features = question["fp32"], model(name), _features(name, key)
    with _watched(network) as seen:
        hidden = full_pass(network, _tokens(name, question["query"], len(features)), features)
    logits = network.logits(hidden[-1:])[0]
    for stage, told in expected["stages"].items():
        state = seen[stage]
        for place, row in (("last_token", -1), ("token1", 1), ("token5", 5)):
            _close(state[row, :8], told[f"{place}_first8"], STAGES_ATOL)
        sums = torch.stack((state.mean(), state.std(correction=0)))
        _close(sums, [told["mean"], told["std"]], STAGES_ATOL)
    _says(logits, expected, name, FP32)
    top = [id_ for id_, _ in expected["top5"]]
    _close(logits[top], [value for _, value in expected["top5"]], FP32["logit_atol"])
    assert int(logits.argmax()) == expected["argmax_id"]
    sums = torch.stack((logits.double().mean(), logits.double().std(correction=0)))
    _close(sums, [expected["logits_mean"], expected["logits_std"]], 1e-5)


@pytest.mark.parametrize(("name", "key", "number"), QUESTIONS[::5])  # the longest of each medium
def test_a_full_pass_in_bfloat16_says_nearly_the_same(name: str, key: str, number: int) -> None:
    question = golden(name)["media"][key]["questions"][number]
    network, features = model(name, torch.bfloat16), _features(name, key, torch.bfloat16)
    hidden = full_pass(network, _tokens(name, question["query"], len(features)), features)
    logits = network.logits(hidden[-1:])[0]
    assert hidden.dtype == torch.bfloat16 and logits.dtype == torch.float32
    _says(logits, question["bf16"], name, BF16)


@pytest.mark.parametrize("number", range(len(golden(VIDEO)["other_templates"])))
def test_other_templates_say_what_the_reference_says(number: int) -> None:
    one = golden(VIDEO)["other_templates"][number]
    features = _features(VIDEO, one["media"])
    tokens = _tokens(VIDEO, one["query"], len(features), one["template"])
    logits = model(VIDEO).logits(full_pass(model(VIDEO), tokens, features)[-1:])[0]
    _says(logits, one["fp32"], VIDEO, FP32)
    assert int(logits.argmax()) == one["fp32"]["argmax_id"]


@pytest.mark.parametrize("name", [VIDEO, IMAGE])
@pytest.mark.parametrize("kind", ["fp32", "bf16"])
def test_rotary_table_is_that_of_the_reference_to_the_bit(name: str, kind: str) -> None:
    expected = golden(name)["rope"][kind]
    dtype = torch.float32 if kind == "fp32" else torch.bfloat16
    for layer in model(name, dtype).model.layers:
        rotary = layer.get_submodule("self_attn.rotary_emb")
        assert isinstance(rotary, Rotary)
        assert torch.equal(rotary.inv_freq.float(), torch.tensor(expected["inv_freq"]))
        cos, sin = rotary.table(torch.tensor(expected["positions"]))
        assert cos.dtype == sin.dtype == dtype
        assert (cos.double().tolist(), sin.double().tolist()) == (expected["cos"], expected["sin"])


def _rotary(size: int, dtype: torch.dtype = torch.float64) -> Rotary:
    rotary = Rotary(size)
    rotary.inv_freq = 10000.0 ** (-torch.arange(size // 2, dtype=torch.float64) * 2 / size)
    return rotary.to(dtype)


def test_rotation_is_a_product_of_complex_numbers() -> None:
    rotary, places = _rotary(8), torch.tensor([0, 1, 5, 300])
    x = torch.randn(4, 3, 8, dtype=torch.float64)
    turned = torch.complex(x[..., :4], x[..., 4:]) * torch.polar(
        torch.ones(4, 1, 4, dtype=torch.float64), (places[:, None] * rotary.inv_freq)[:, None]
    )
    torch.testing.assert_close(rotary(x, places), torch.cat((turned.real, turned.imag), dim=-1))


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2000), st.integers(0, 2000), st.integers(0, 2000))
def test_only_the_distance_of_two_tokens_counts(first: int, second: int, shift: int) -> None:
    rotary, x = _rotary(8), torch.randn(2, 1, 8, dtype=torch.float64)
    near, far = (rotary(x, torch.tensor([first + by, second + by])).flatten(1) for by in (0, shift))
    torch.testing.assert_close(near[0] @ near[1], far[0] @ far[1])


def test_bfloat16_positions_above_256_are_rounded_as_the_released_model_has_them() -> None:
    cos, _ = _rotary(8, torch.bfloat16).table(torch.tensor([255, 256, 257, 258, 259, 260]))
    same = [bool((a == b).all()) for a, b in pairwise(cos)]
    assert same == [False, True, False, False, True]


def test_norm_rounds_once_after_its_weight() -> None:
    norm = RMSNorm(64, eps=1e-5)
    torch.nn.init.normal_(norm.weight)
    norm = norm.bfloat16()
    x = torch.randn(100, 64).bfloat16()
    wide = x.double()
    scale = (wide.pow(2).mean(-1, keepdim=True) + 1e-5).rsqrt()
    exact = wide * scale * norm.weight.double()
    off = (norm(x) != exact.bfloat16()).double().mean()
    assert off < 0.001  # rounding before the weight as well moves a third of them


def test_norm_of_almost_nothing_is_held_by_its_epsilon() -> None:
    norm = RMSNorm(4, eps=1e-5)
    torch.nn.init.ones_(norm.weight)
    assert norm(torch.zeros(1, 4)).tolist() == [[0.0] * 4]
    torch.testing.assert_close(
        norm(torch.full((1, 4), 1e-5)), torch.full((1, 4), 1e-5 / 1e-5**0.5), rtol=1e-4, atol=0
    )


@pytest.mark.parametrize("name", [VIDEO, IMAGE])
def test_norms_have_the_epsilon_of_their_place(name: str) -> None:
    """The tower's differs by so little from the usual one that few features tell."""
    for key, module in model(name).named_modules():
        if isinstance(module, RMSNorm | torch.nn.LayerNorm):
            in_tower = key.startswith("model.vision.transformer.")
            assert module.eps == (1e-6 if in_tower else 1e-5), key


def _nothing_mixed(layer: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    return queries


def test_each_kind_of_token_uses_its_own_weights() -> None:
    """Without attention between tokens, a change of one expert moves its own rows alone."""
    network = random_model(small_config(experts=True))
    layer = network.model.layers[0]
    assert isinstance(layer, Layer)
    x, places = torch.randn(7, 32), torch.arange(7)
    kinds = Kinds(torch.tensor([1, 2, 5]), torch.tensor([0, 3, 4, 6]))
    for rows, mine in ((kinds.vision, "vision"), (kinds.language, "language")):
        for name, weight in layer.named_parameters():
            if f"{mine}_" not in name:
                continue
            before = layer(x, places, _nothing_mixed, kinds)
            weight.mul_(1.5)
            moved = (layer(x, places, _nothing_mixed, kinds) != before).any(-1)
            assert moved.nonzero()[:, 0].tolist() == rows.tolist(), name


def test_text_alone_goes_through_language_weights() -> None:
    layer = small_model(experts=True).model.layers[0]
    x, places = torch.randn(4, 32), torch.arange(4)
    kinds = Kinds(torch.tensor([], dtype=torch.int64), torch.arange(4))
    torch.testing.assert_close(
        layer(x, places, _nothing_mixed, kinds), layer(x, places, _nothing_mixed, None)
    )


def test_pictures_do_not_see_each_other_in_the_tower() -> None:
    network, pictures = small_model(experts=False), torch.randn(3, 3, 56, 56)
    together = network.see(pictures)
    for number in range(3):
        alone = network.see(pictures[number : number + 1])[0]
        torch.testing.assert_close(together[number], alone, rtol=0, atol=1e-5)


def test_logits_of_two_tokens_are_those_of_the_whole_vocabulary() -> None:
    network, hidden = small_model(experts=False), torch.randn(5, 32)
    torch.testing.assert_close(
        network.logits(hidden, [7, 2]), network.logits(hidden)[:, [7, 2]], rtol=0, atol=1e-6
    )
