"""Weights go from files into a network one by one, each cast and on its device."""

from __future__ import annotations

import weakref
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from vqa.errors import BadCheckpoint
from vqa.models.headers import Headers, read
from vqa.models.machine import Machine
from vqa.models.placement import Placement, place
from vqa.models.streaming import load_into

WHOLE = ("Block",)


class Block(nn.Module):
    """A residual block that reads a weight without a call, as some networks do."""

    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Linear(8, 16)
        self.down = nn.Linear(16, 8, bias=False)
        self.register_buffer("scale", torch.rand(8))

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.relu(self.up(x)) @ self.down.weight.T * self.scale


class Net(nn.Module):
    """Two blocks, a tensor of its own, and a tied head."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.rand(8))
        self.register_buffer("ids", torch.arange(3))
        self.first = nn.Linear(8, 8, bias=False)
        self.blocks = nn.ModuleList([Block(), Block()])
        self.head = nn.Linear(8, 8)
        self.head.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x) + self.token.to(x)
        for block in self.blocks:
            x = block(x)
        return self.head(x)  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def original() -> Net:
    torch.manual_seed(0)
    return Net().requires_grad_(False)


@pytest.fixture(scope="module")
def saved(original: Net, tmp_path_factory: pytest.TempPathFactory) -> Headers:
    """The network in two shards, a layer's weight and bias in different ones."""
    folder = tmp_path_factory.mktemp("net")
    state = {name: value for name, value in original.state_dict().items() if name != "head.weight"}
    for number in range(2):
        part = {name: state[name] for name in sorted(state)[number::2]}
        save_file(part, folder / f"model-0000{number + 1}-of-00002.safetensors")
    return read(folder)


def empty() -> Net:
    with torch.device("meta"):
        net = Net()
        net.head.weight = net.first.weight
        return net


def planned(net: nn.Module, dtype: str = "float32", cpu: int | None = None) -> Placement:
    limits: dict[int | str, int | str] | None = None if cpu is None else {"cpu": cpu}
    return place(net, dtype=dtype, max_memory=limits, whole=WHOLE, machine=Machine(10**9))


def test_every_tensor_arrives_as_it_was_saved(original: Net, saved: Headers) -> None:
    net = empty()
    load_into(net, saved, planned(net))
    for name, value in original.state_dict().items():
        assert torch.equal(net.state_dict()[name], value), name
    assert not net.training
    assert not any(parameter.requires_grad for parameter in net.parameters())


def test_floats_are_cast_with_the_buffers_and_integers_are_not(
    original: Net, saved: Headers
) -> None:
    net = empty()
    load_into(net, saved, planned(net, "bfloat16"))
    kinds = {name: value.dtype for name, value in net.state_dict().items()}
    assert kinds.pop("ids") == torch.int64
    assert set(kinds.values()) == {torch.bfloat16}
    scale = original.state_dict()["blocks.0.scale"]
    assert torch.equal(net.state_dict()["blocks.0.scale"], scale.to(torch.bfloat16))


def test_tied_weights_stay_tied(saved: Headers) -> None:
    net = empty()
    load_into(net, saved, planned(net))
    assert net.head.weight is net.first.weight


def test_linear_layers_are_handed_on_as_soon_as_they_are_complete(saved: Headers) -> None:
    net, handed = empty(), dict[str, int]()

    def transform(name: str, linear: nn.Linear) -> nn.Module:
        assert not any(parameter.is_meta for parameter in linear.parameters())
        handed[name] = sum(tensor.is_meta for tensor in net.state_dict().values())
        return nn.Sequential(linear)

    load_into(net, saved, planned(net), transform=transform)
    assert set(handed) == {"first", "head"} | {
        f"blocks.{n}.{k}" for n in (0, 1) for k in ("up", "down")
    }
    assert list(handed.values()) == sorted(handed.values(), reverse=True)
    assert max(handed.values()) > 5  # still empty then
    assert type(net.blocks[1].up) is nn.Sequential


def test_replaced_layers_are_let_go_before_the_next_is_read(saved: Headers) -> None:
    net, replaced = empty(), list[weakref.ref[nn.Linear]]()

    def transform(name: str, linear: nn.Linear) -> nn.Module:
        assert [layer() for layer in replaced] == [None] * len(replaced)
        replaced.append(weakref.ref(linear))
        return nn.Identity()

    load_into(net, saved, planned(net), transform=transform)
    assert len(replaced) == 6


def test_loaded_weights_do_not_follow_their_file(original: Net, tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    state = original.state_dict()
    del state["head.weight"]
    save_file(state, file)
    net = empty()
    load_into(net, read(tmp_path), planned(net))
    with file.open("r+b") as stream:  # in place: a mapped file would change with it
        stream.write(bytes(file.stat().st_size))
    assert torch.equal(net.first.weight, original.first.weight)


def test_file_that_changed_since_it_was_checked_is_refused(original: Net, tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    state = {name: value for name, value in original.state_dict().items() if name != "head.weight"}
    save_file(state, file)
    checked = read(tmp_path)
    save_file(state | {"token": torch.rand(9)}, file)
    net = empty()
    with pytest.raises(BadCheckpoint, match="token: changed its shape since it was checked"):
        load_into(net, checked, planned(net))
    file.write_bytes(b"gone")
    with pytest.raises(BadCheckpoint, match="changed while it was read"):
        load_into(empty(), checked, planned(net))


def test_network_with_more_than_the_checkpoint_does_not_run_empty(saved: Headers) -> None:
    net = empty()
    net.register_buffer("table", torch.empty(2, device="meta"), persistent=False)
    with pytest.raises(RuntimeError, match="no weights were loaded for table"):
        load_into(net, saved, planned(net))


@pytest.mark.parametrize("limit", [2000, 2400, 100])
def test_parts_left_on_disk_are_fetched_for_each_pass(
    original: Net, saved: Headers, limit: int
) -> None:
    net = empty()
    placement = planned(net, cpu=limit)
    assert placement.spread
    load_into(net, saved, placement, whole=WHOLE)
    on_disk = {name for name, value in net.named_parameters() if value.is_meta}
    assert on_disk == {n for n, _ in net.named_parameters() if placement.home(n) == "disk"}
    assert any(name.startswith("blocks.1.") for name in on_disk)
    assert "token" not in on_disk
    x = torch.rand(4, 8)
    for _ in range(2):
        assert torch.equal(net(x), original(x))
    assert on_disk <= {name for name, value in net.named_parameters() if value.is_meta}


def test_parts_on_disk_are_cast_when_fetched(original: Net, saved: Headers) -> None:
    net = empty()
    load_into(net, saved, planned(net, "bfloat16", cpu=1000), whole=WHOLE)
    x = torch.rand(4, 8).bfloat16()
    resident = Net().bfloat16()
    resident.load_state_dict(original.state_dict())
    assert torch.equal(net(x), resident(x))
