"""Quantised linear layers against rounding by hand, and what they hold in memory."""

from __future__ import annotations

import copy
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from benchmarks.quantize import FORMS, forms
from tests.golden import IMAGE, VIDEO, golden, materialise, medium
from vqa.errors import BadArgument, NotAvailable
from vqa.models.cogvlm2.engine import Engine, Look
from vqa.models.cogvlm2.fitting import PUBLISHED
from vqa.models.cogvlm2.memory import is_quantised
from vqa.models.cogvlm2.model import CogVLM2
from vqa.models.quantize import check_installed, held_bytes, quantize_linear
from vqa.models.sizes import Quantize, quantised_bytes

F64 = npt.NDArray[np.float64]
HOWS: tuple[Quantize, ...] = ("int8", "int4")
DTYPES = (torch.float32, torch.bfloat16, torch.float16)

# The 16 levels of NF4 as printed in the QLoRA paper (arXiv 2305.14314, appendix E).
NF4 = [-1.0, -0.6961928, -0.52507305, -0.3949175, -0.28444138, -0.18477343, -0.09105004, 0.0]
NF4 += [0.0795803, 0.1609302, 0.2461123, 0.33791524, 0.44070983, 0.562617, 0.72295684, 1.0]


def linear(
    rows: int, columns: int, *, bias: bool = True, dtype: torch.dtype = torch.float32
) -> nn.Linear:
    torch.manual_seed(rows * 1000 + columns)
    return nn.Linear(columns, rows, bias=bias).to(dtype)


def unpacked(layer: nn.Module, columns: int) -> F64:
    """The weight (out, in) that a layer without bias multiplies with."""
    with torch.no_grad():
        weight: F64 = layer(torch.eye(columns)).double().numpy().T
    return weight


def int8_by_hand(weight: F64) -> F64:
    scale = np.abs(weight).max(axis=1, keepdims=True) / 127
    rounded: F64 = np.rint(weight / scale) * scale
    return rounded


def nf4_by_hand(weight: F64) -> F64:
    """Nearest level in blocks of 64; the scale of a block exact."""
    flat = np.zeros(-(-weight.size // 64) * 64)
    flat[: weight.size] = weight.ravel()
    blocks = flat.reshape(-1, 64)
    scale = np.abs(blocks).max(axis=1, keepdims=True)
    nearest = np.abs(blocks[..., None] / scale[..., None] - np.array(NF4)).argmin(axis=-1)
    rounded: F64 = (np.array(NF4)[nearest] * scale).ravel()[: weight.size].reshape(weight.shape)
    return rounded


def test_int8_is_one_scale_per_row_and_the_nearest_of_255_steps() -> None:
    original = linear(96, 160, bias=False)
    original.weight.data = original.weight.data.half().float()  # exact in what the kernel reads
    weight = original.weight.detach().double().numpy()
    found = unpacked(quantize_linear(original, "int8"), 160)
    step = np.abs(weight).max(axis=1, keepdims=True) / 127
    assert (np.abs(found - weight) <= 0.5001 * step).all()
    clear = np.abs(np.abs(weight / step) % 1 - 0.5) > 1e-4  # not half way between two steps
    assert np.allclose(found[clear], int8_by_hand(weight)[clear], rtol=1e-6, atol=0)
    assert clear.mean() > 0.99


def test_int4_is_the_nearest_level_of_nf4_in_blocks_of_64() -> None:
    original = linear(96, 160, bias=False)
    weight = original.weight.detach().double().numpy()
    found = unpacked(quantize_linear(original, "int4"), 160)
    expected = nf4_by_hand(weight)
    # The scales of the blocks are themselves kept in 8 bits.
    assert np.allclose(found, expected, rtol=0.02, atol=0)
    assert np.array_equal(np.sign(found), np.sign(expected))


@pytest.mark.parametrize("how", HOWS)
def test_the_output_is_that_of_the_unpacked_weight_and_the_bias(how: Quantize) -> None:
    original = linear(70, 130)
    layer = quantize_linear(original, how)
    weight = unpacked(layer, 130) - original.bias.detach().double().numpy()[:, None]
    x = torch.randn(3, 5, 130)
    expected = x.double().numpy() @ weight.T + original.bias.detach().double().numpy()
    assert np.allclose(layer(x).detach().numpy(), expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize(("how", "least", "most"), [("int8", 0.006, 0.009), ("int4", 0.08, 0.1)])
def test_normal_weights_lose_under_a_percent_and_a_tenth(
    how: Quantize, least: float, most: float
) -> None:
    torch.manual_seed(0)
    original = nn.Linear(512, 256, bias=False)
    nn.init.normal_(original.weight, std=0.02)
    x = torch.randn(64, 512)
    exact = original(x)
    error = (quantize_linear(original, how)(x) - exact).norm() / exact.norm()
    assert least < error.item() < most


@settings(deadline=None, max_examples=60)
@given(
    rows=st.integers(1, 150),
    columns=st.integers(1, 300),
    bias=st.booleans(),
    dtype=st.sampled_from(DTYPES),
    how=st.sampled_from(HOWS),
)
def test_every_size_is_taken_and_held_in_the_bytes_counted(
    rows: int, columns: int, bias: bool, dtype: torch.dtype, how: Quantize
) -> None:
    original = linear(rows, columns, bias=bias, dtype=dtype)
    layer = quantize_linear(original, how)
    beside = rows * dtype.itemsize if bias else 0
    assert held_bytes(layer) == quantised_bytes((rows, columns), how) + beside
    x = torch.randn(2, columns, dtype=dtype)
    found, exact = layer(x), original(x)
    assert (found.shape, found.dtype) == (exact.shape, exact.dtype)
    # No weight is off by more than half a step: of 127 in int8, of the widest in NF4.
    part = 0.6 / 127 if how == "int8" else 0.17
    room = part * original.weight.abs().max().float() * x.float().abs().sum(-1).max()
    rounding = 4 * torch.finfo(dtype).eps * (1 + exact.float().abs().max())
    assert (found.float() - exact.float()).abs().max() <= room + rounding


@pytest.mark.parametrize(("how", "share"), [("int8", 0.5), ("int4", 0.258)])
def test_a_layer_holds_a_half_and_a_quarter_of_bfloat16(how: Quantize, share: float) -> None:
    original = linear(1024, 1024, bias=False, dtype=torch.bfloat16)
    layer = quantize_linear(original, how)
    assert held_bytes(layer) / held_bytes(original) == pytest.approx(share, abs=0.003)


@pytest.mark.parametrize("how", HOWS)
def test_a_cast_moves_the_bias_and_leaves_weight_and_scales(how: Quantize) -> None:
    layer = quantize_linear(linear(64, 160), how)
    x = torch.randn(4, 160)
    before = layer(x)
    cast = copy.deepcopy(layer).to(torch.bfloat16)
    assert cast(x.bfloat16()).dtype == torch.bfloat16
    back = cast.float().to("cpu")
    back.bias = layer.bias  # the only thing that was rounded
    assert torch.equal(back(x), before)


@pytest.mark.parametrize("how", HOWS)
def test_a_row_of_zeros_stays_zero(how: Quantize) -> None:
    original = linear(3, 128, bias=False)
    original.weight.data[1] = 0
    found = quantize_linear(original, how)(torch.randn(2, 128))
    assert (found[:, 1] == 0).all() and (found[:, [0, 2]] != 0).all()


def test_float16_does_not_overflow_where_the_plain_layer_does_not() -> None:
    original = linear(8, 512, bias=False, dtype=torch.float16)
    x = torch.full((1, 512), 100.0, dtype=torch.float16)
    assert quantize_linear(original, "int8")(x).isfinite().all()


def test_a_missing_package_is_named_with_the_way_to_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    check_installed()
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    for attempt in (check_installed, lambda: quantize_linear(linear(4, 4), "int8")):
        with pytest.raises(NotAvailable, match=r"bitsandbytes.*pip install 'vqa-visionreward\[qu"):
            attempt()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_card_rounds_and_multiplies_as_the_cpu_does(how: Quantize, dtype: torch.dtype) -> None:
    original = linear(96, 160, dtype=dtype)
    x = torch.randn(33, 160, dtype=dtype)
    expected = quantize_linear(original, how)(x).float()
    moved = quantize_linear(original, how).to("cuda")
    there = quantize_linear(copy.deepcopy(original).to("cuda"), how)
    assert held_bytes(there) == held_bytes(moved)
    for layer in (moved, there):
        error = layer(x.to("cuda")).float().cpu() - expected
        assert error.norm() <= 8 * torch.finfo(dtype).eps * expected.norm() + 1e-3


def test_other_bits_are_refused() -> None:
    with pytest.raises(BadArgument, match="'int8', 'int4' or None, not 'int3'"):
        quantize_linear(linear(4, 4), "int3")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", PUBLISHED)
def test_what_is_quantised_are_the_linear_layers_but_not_projector_and_head(name: str) -> None:
    config = PUBLISHED[name]
    with torch.device("meta"):
        model = CogVLM2(config)
    linears = {
        f"{path}.weight" for path, layer in model.named_modules() if isinstance(layer, nn.Linear)
    }
    chosen = {path for path, shape in config.shapes().items() if is_quantised(path, shape)}
    kept = linears - chosen
    assert chosen < linears and "lm_head.weight" in kept
    assert {path.removeprefix("model.vision.linear_proj.") for path in kept} == {
        "lm_head.weight",
        "linear_proj.weight",
        "gate_proj.weight",
        "dense_h_to_4h.weight",
        "dense_4h_to_h.weight",
    }


@pytest.mark.parametrize(("how", "mean"), [("int8", 0.03), ("int4", 0.3)])
@pytest.mark.parametrize("name", [VIDEO, IMAGE])
def test_a_quantised_checkpoint_answers_close_to_the_reference(
    name: str, how: Quantize, mean: float, tmp_path: Path
) -> None:
    engine = Engine.load(
        materialise(name, tmp_path / name), device="cpu", dtype="float32", quantize=how
    )
    key, expected = next(iter(golden(name)["media"].items()))
    queries = [question["query"] for question in expected["questions"]]
    found = engine.read([Look(engine.pixels(medium(name, key)), queries)])[0]
    exact = [question["fp32"]["p_yes"] for question in expected["questions"]]
    off = [abs(reading.p_yes - p) for reading, p in zip(found, exact, strict=True)]
    assert 1e-4 < sum(off) / len(off) < mean


def test_the_benchmark_finds_int8_closer_than_int4_and_counts_what_is_held() -> None:
    found = {
        (form.dtype, form.quantize): form for form in forms(clips=1, frames=1, hidden=256, layers=1)
    }
    assert list(found) == list(FORMS)
    assert all(form.held_bytes == form.counted_bytes for form in found.values())
    eight, four = found["float32", "int8"], found["float32", "int4"]
    assert 0 < 4 * eight.mean_dp < four.mean_dp < four.largest_dp < 0.5
    assert found["bfloat16", "int8"].held_bytes < eight.held_bytes
    assert eight.same_answer >= four.same_answer > 0.8
