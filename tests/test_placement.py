"""Plans for machines that are not here, of networks of true size that are never loaded."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import pytest
import torch
from torch import nn

from vqa.errors import BadArgument, NotAvailable, OutOfMemory
from vqa.models.cogvlm2.config import Config
from vqa.models.cogvlm2.memory import is_quantised, weights_bytes
from vqa.models.cogvlm2.model import CogVLM2
from vqa.models.machine import Card, Machine
from vqa.models.placement import ROOM, Placement, named_device, named_dtype, place
from vqa.models.sizes import Quantize

GB = 10**9
VIDEO = Config(experts=False)
PACKED = {name for name, shape in VIDEO.shapes().items() if is_quantised(name, shape)}


@lru_cache
def video() -> CogVLM2:
    """The 12.5 billion parameters of VisionReward-Video, as shapes."""
    with torch.device("meta"):
        return CogVLM2(VIDEO)


def machine(*cards_gb: float, ram_gb: float = 64, generation: int = 8) -> Machine:
    cards = tuple(Card(int(gb * GB), generation) for gb in cards_gb)
    return Machine(int(ram_gb * GB), cards)


def placed(on: Machine, *, resident: Sequence[str] = ("lm_head",), **options: Any) -> Placement:
    whole = CogVLM2._no_split_modules
    return place(video(), machine=on, quantised=PACKED, whole=whole, resident=resident, **options)


def held(placement: Placement) -> dict[str, int]:
    """Bytes per home, counted tensor by tensor."""
    found: dict[str, int] = {}
    for name, tensor in video().state_dict().items():
        home = placement.home(name)
        found[home] = found.get(home, 0) + tensor.numel() * placement.dtype.itemsize
    return found


def test_bytes_are_those_of_the_published_model() -> None:
    placement = placed(machine(80))
    assert placement.bytes == weights_bytes(VIDEO, dtype="bfloat16") == 25_015_065_088
    assert str(placement) == "25.0 GB in bfloat16, on cuda:0"


@pytest.mark.parametrize(
    ("card_gb", "quantize", "dtype"),
    [(40, None, "auto"), (24, "int8", "auto"), (12, "int4", "auto"), (80, None, "float32")],
)
def test_a_card_that_is_large_enough_takes_all(
    card_gb: float, quantize: Quantize | None, dtype: str
) -> None:
    placement = placed(machine(card_gb), quantize=quantize, dtype=dtype)
    assert dict(placement.homes) == {"": "cuda:0"}
    assert not placement.spread
    assert placement.bytes + ROOM <= card_gb * GB
    kind = str(placement.dtype).removeprefix("torch.")
    assert placement.bytes == weights_bytes(VIDEO, dtype=kind, quantize=quantize)


def test_the_first_card_with_room_is_taken() -> None:
    assert placed(machine(8, 40, 80)).device == torch.device("cuda:1")


def test_without_a_card_it_is_the_cpu() -> None:
    placement = placed(machine())
    assert (placement.device, placement.dtype) == (torch.device("cpu"), torch.bfloat16)
    assert not placement.spread


def test_cards_share_what_is_too_large_for_one() -> None:
    placement = placed(machine(16, 16))
    sizes = held(placement)
    assert set(sizes) == {"cuda:0", "cuda:1"}
    assert max(sizes.values()) <= 16 * GB - ROOM
    assert placement.spread


def test_what_does_not_fit_on_cards_waits_in_main_memory() -> None:
    placement = placed(machine(16))
    sizes = held(placement)
    assert set(sizes) == {"cuda:0", "cpu"}
    assert 8 * GB < sizes["cuda:0"] <= 16 * GB - ROOM
    assert placement.device == torch.device("cuda:0")


def test_residual_blocks_are_never_split() -> None:
    placement = placed(machine(16))
    whole = [n for n, m in video().named_modules() if type(m).__name__ in video()._no_split_modules]
    assert len(whole) == 32 + 63 + 2
    for block in whole:
        homes = {
            placement.home(name) for name in video().state_dict() if name.startswith(block + ".")
        }
        assert len(homes) == 1, block


@pytest.mark.parametrize("card_gb", [2.5, 5, 12, 20])
def test_the_head_stays_on_the_card_because_it_is_read_without_a_call(card_gb: float) -> None:
    assert placed(machine(card_gb)).home("lm_head.weight") == "cuda:0"


def test_part_of_a_parked_module_can_stay_on_the_card_alone() -> None:
    placement = placed(machine(12), resident=["model.vision.conv"])
    parts = ("conv.weight", "conv.bias", "boi", "linear_proj.norm1.bias", "transformer.layers.3")
    homes = [placement.home(f"model.vision.{part}") for part in parts]
    assert homes == ["cuda:0", "cuda:0", "cuda:0", "cpu", "cpu"]
    assert placed(machine(12)).home("model.vision.conv.weight") == "cpu"


def test_tensors_between_the_parts_stay_on_the_card() -> None:
    placement = placed(machine(20))
    assert {placement.home(f"model.vision.{n}") for n in ("boi", "eoi")} == {"cuda:0"}
    assert placement.home("model.vision.conv.weight") == "cpu"  # so the tower was taken apart


@pytest.mark.parametrize("cards_gb", [(2.5,), (5,), (16,), (16, 16), (12, 8, 8)])
def test_every_tensor_has_one_home_and_no_home_lies_in_another(cards_gb: tuple[float]) -> None:
    placement = placed(machine(*cards_gb))
    for name in placement.homes:
        assert not any(name.startswith(f"{other}.") for other in placement.homes)
    assert sum(held(placement).values()) == placement.bytes


def test_too_little_of_everything_is_refused_with_what_would_fit() -> None:
    with pytest.raises(OutOfMemory) as refused:
        placed(machine(12, ram_gb=6))
    told = str(refused.value)
    assert "25.0 GB of weights (bfloat16) do not fit: all cards and cpu: 16.0 GB free" in told
    assert "take quantize='int4' (8.3 GB), or max_memory=" in told  # int8 takes 13.6 of 10 GB


def test_a_named_card_that_is_too_small_says_what_is_there() -> None:
    with pytest.raises(OutOfMemory, match=r"25\.0 GB .* cuda:0: 24\.0 GB free; .*device='auto'"):
        placed(machine(24), device="cuda")


def test_too_little_main_memory_is_refused_before_loading() -> None:
    with pytest.raises(OutOfMemory, match=r"50\.0 GB .*cpu: 30\.0 GB free; take dtype='bfloat16'"):
        placed(machine(ram_gb=30), dtype="float32")


def test_unknown_main_memory_is_not_taken_for_none() -> None:
    assert placed(Machine(ram=None)).device == torch.device("cpu")


def test_quantised_weights_are_not_parked() -> None:
    with pytest.raises(OutOfMemory, match=r"\(bfloat16, int8\) do not fit: all cards: 6\.0 GB"):
        placed(machine(8), quantize="int8")
    with pytest.raises(BadArgument, match="needs all parts on cards"):
        placed(machine(8), quantize="int8", max_memory={0: "4GB", "cpu": "60GB"})


@pytest.mark.parametrize(
    ("on", "device", "quantize", "way"),
    [
        (machine(5), "cuda", None, "take device='auto': the rest goes into main memory"),
        (machine(5), "cuda", "int4", "take device='auto' without quantize: the rest goes"),
        (machine(5), "auto", "int4", "take device='auto' without quantize: the rest goes"),
        (machine(5, ram_gb=5), "auto", None, "take max_memory={'cpu': '8GB'}: the rest stays on"),
        (machine(ram_gb=5), "auto", None, "take max_memory={'cpu': '8GB'}: the rest stays on disk"),
        (machine(ram_gb=5), "cpu", "int4", "take max_memory={'cpu': '8GB'} without quantize: the"),
    ],
)
def test_way_out_is_one_that_exists(
    on: Machine, device: str, quantize: Quantize | None, way: str
) -> None:
    with pytest.raises(OutOfMemory) as refused:
        placed(on, device=device, quantize=quantize)
    assert way in str(refused.value)


def test_max_memory_sends_the_rest_to_disk() -> None:
    placement = placed(machine(), max_memory={"cpu": "20GB"})
    sizes = held(placement)
    assert set(sizes) == {"cpu", "disk"}
    assert sizes["cpu"] <= 20 * GB
    assert placement.device == torch.device("cpu")


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({0: "1GB"}, "0 is no place here; there are 0 cards"),
        ({"cpu": "much"}, "bytes, or text such"),
    ],
)
def test_max_memory_must_make_sense(limits: dict[int | str, str], words: str) -> None:
    with pytest.raises(BadArgument, match=words):
        placed(machine(), max_memory=limits)


def test_max_memory_is_for_auto() -> None:
    with pytest.raises(BadArgument, match="device='cpu' is only one"):
        placed(machine(), device="cpu", max_memory={"cpu": "1GB"})


def test_cards_older_than_ampere_compute_in_float16() -> None:
    assert placed(machine(32, generation=7)).dtype == torch.float16
    assert placed(machine(32, generation=9)).dtype == torch.bfloat16
    assert placed(machine(32, generation=7), device="cpu").dtype == torch.bfloat16


def test_dtypes_have_short_names_too() -> None:
    here = machine()
    assert [named_dtype(n, machine=here) for n in ("fp32", "bf16", "fp16", "float16")] == [
        "float32",
        "bfloat16",
        "float16",
        "float16",
    ]
    with pytest.raises(BadArgument, match=r"dtype must be 'auto', float32, .* not 'int8'"):
        named_dtype("int8", machine=here)


@pytest.mark.parametrize("device", ["gpu", "meta", "cuda:x", "", "cpu:-1"])
def test_device_of_an_unknown_name_is_refused(device: str) -> None:
    with pytest.raises(BadArgument, match="device must be 'auto', 'cpu', 'cuda'"):
        named_device(device, machine(40))


def test_card_that_is_not_there_is_not_available() -> None:
    assert named_device("cuda", machine(40)) == "cuda:0"
    with pytest.raises(NotAvailable, match=r"'cuda:1': torch .* sees 1 CUDA cards"):
        named_device("cuda:1", machine(40))
    with pytest.raises(NotAvailable, match="sees 0 CUDA cards"):
        named_device("cuda", machine())


def test_tied_weights_are_counted_once() -> None:
    with torch.device("meta"):
        tied = nn.ModuleDict(
            {"a": nn.Linear(10, 10, bias=False), "b": nn.Linear(10, 10, bias=False)}
        )
    tied["b"].weight = tied["a"].weight
    assert place(tied, device="cpu", dtype="float32", machine=machine()).bytes == 400
