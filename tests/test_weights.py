"""Weights by name, whatever file they lie in, and how they get into a network."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn

from vqa.errors import BadCheckpoint, MissingCheckpoint
from vqa.models.weights import Place, Weights, as_named, fill, number_positions, open_weights

CPU = torch.device("cpu")
PICKLES = ("first.pt", "pytorch_model.bin")
State = dict[str, Tensor]
Save = Callable[[State, Path], object]


def _state() -> State:
    numbers = torch.Generator().manual_seed(1)
    return {
        "head.weight": torch.randn(2, 3, generator=numbers),
        "head.bias": torch.randn(2, generator=numbers),
        "norm.weight": torch.randn(3, generator=numbers),
        "steps": torch.tensor([3, 4]),
    }


def _shards(state: State, folder: Path) -> None:
    halves = list(state.items())[::2], list(state.items())[1::2]
    index: dict[str, str] = {}
    for number, half in enumerate(halves, start=1):
        file = f"model-{number:05d}-of-00002.safetensors"
        save_file(dict(half), folder / file)
        index |= {name: file for name, _ in half}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))


def _pickled_shards(state: State, folder: Path) -> None:
    index = {}
    for number, (name, value) in enumerate(state.items()):
        torch.save({name: value}, folder / f"part{number}.bin")
        index[name] = f"part{number}.bin"
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": index}))


def _old(state: State, folder: Path) -> None:
    torch.save(state, folder / "pytorch_model.bin", _use_new_zipfile_serialization=False)


CONTAINERS: dict[str, Save] = {
    "one safetensors file": lambda state, folder: save_file(state, folder / "model.safetensors"),
    "safetensors shards": _shards,
    "a pickle": lambda state, folder: torch.save(state, folder / "pytorch_model.bin"),
    "a pickle of old": _old,
    "a pickle in parts": _pickled_shards,
}


def _same(found: State, wanted: State) -> bool:
    return found.keys() == wanted.keys() and all(
        torch.equal(found[name], wanted[name]) for name in wanted
    )


@pytest.mark.parametrize("container", CONTAINERS)
def test_every_container_gives_the_same_tensors(container: str, tmp_path: Path) -> None:
    CONTAINERS[container](_state(), tmp_path)
    weights = open_weights(tmp_path, pickles=PICKLES)
    assert _same(dict(weights), _state())
    outline = dict(weights.outline())
    assert {name: value.shape for name, value in outline.items()} == {
        name: value.shape for name, value in _state().items()
    }
    assert all(value.is_meta for value in outline.values())
    assert weights.origin.startswith(str(tmp_path))


names = st.from_regex(r"[a-z]{1,5}(\.[a-z0-9]{1,4}){0,2}", fullmatch=True)
shapes = st.lists(st.integers(1, 4), max_size=3)
dtypes = st.sampled_from([torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.bool])


@settings(max_examples=30)
@given(st.dictionaries(names, st.tuples(shapes, dtypes), min_size=1, max_size=5))
def test_a_pickle_holds_what_safetensors_hold(
    tmp_path_factory: pytest.TempPathFactory, kinds: dict[str, tuple[list[int], torch.dtype]]
) -> None:
    state = {name: torch.full(shape, 1, dtype=kind) for name, (shape, kind) in kinds.items()}
    folder = tmp_path_factory.mktemp("kinds")
    torch.save(state, folder / "first.pt")
    assert _same(dict(open_weights(folder, pickles=PICKLES)), state)
    save_file(state, folder / "model.safetensors")
    assert _same(dict(open_weights(folder)), state)


def test_safetensors_are_preferred_then_the_pickles_in_their_order(tmp_path: Path) -> None:
    for file, value in (("pytorch_model.bin", 1.0), ("first.pt", 2.0), ("other.pt", 3.0)):
        torch.save({"a": torch.tensor(value)}, tmp_path / file)
        found = dict(open_weights(tmp_path, pickles=PICKLES))
        assert found["a"] == min(value, 2.0)
    save_file({"a": torch.tensor(4.0)}, tmp_path / "model.safetensors")
    assert dict(open_weights(tmp_path, pickles=PICKLES))["a"] == 4.0


def test_a_tensor_in_two_shards_comes_from_the_one_that_the_index_names(tmp_path: Path) -> None:
    save_file({"a": torch.tensor(1.0), "b": torch.tensor(2.0)}, tmp_path / "x.safetensors")
    save_file({"a": torch.tensor(9.0), "c": torch.tensor(3.0)}, tmp_path / "y.safetensors")
    index = {"a": "x.safetensors", "b": "x.safetensors", "c": "y.safetensors"}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    found = [(name, value.item()) for name, value in open_weights(tmp_path)]
    assert sorted(found) == [("a", 1.0), ("b", 2.0), ("c", 3.0)]


def test_weights_under_a_key_are_found_there_and_also_without_it(tmp_path: Path) -> None:
    torch.save({"epoch": 3, "state_dict": _state()}, tmp_path / "first.pt")
    assert _same(dict(open_weights(tmp_path, pickles=PICKLES, under="state_dict")), _state())
    torch.save(_state(), tmp_path / "first.pt")
    assert _same(dict(open_weights(tmp_path, pickles=PICKLES, under="state_dict")), _state())


def test_what_is_no_tensor_is_left_out(tmp_path: Path) -> None:
    torch.save(_state() | {"epoch": 3, "name": "x"}, tmp_path / "first.pt")
    assert _same(dict(open_weights(tmp_path, pickles=PICKLES)), _state())


class Malicious:
    """Makes a folder when it is unpickled by a reader that runs what it finds."""

    def __init__(self, mark: Path) -> None:
        self.mark = str(mark)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.mark,)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_malicious_pickle_is_refused_and_not_run(tmp_path: Path, zipped: bool) -> None:
    mark, file = tmp_path / "was run", tmp_path / "first.pt"
    torch.save(_state() | {"x": Malicious(mark)}, file, _use_new_zipfile_serialization=zipped)
    with pytest.raises(BadCheckpoint, match=r"first\.pt: holds more than tensors.*mkdir.*refused"):
        list(open_weights(tmp_path, pickles=PICKLES))
    assert not mark.exists()
    torch.load(file, weights_only=False)
    assert mark.exists()  # so it would have been


def test_a_plain_pickle_is_refused_and_not_run(tmp_path: Path) -> None:
    mark = tmp_path / "was run"
    (tmp_path / "first.pt").write_bytes(pickle.dumps(Malicious(mark), protocol=2))
    with pytest.raises(BadCheckpoint, match=r"first\.pt: "):
        list(open_weights(tmp_path, pickles=PICKLES))
    assert not mark.exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_is_cut_off_anywhere_is_refused(tmp_path: Path, zipped: bool) -> None:
    file = tmp_path / "first.pt"
    torch.save(_state(), file, _use_new_zipfile_serialization=zipped)
    raw = file.read_bytes()
    for length in range(0, len(raw), 7):
        file.write_bytes(raw[:length])
        with pytest.raises(BadCheckpoint, match=r"first\.pt: .*(download it again|is refused)"):
            list(open_weights(tmp_path, pickles=PICKLES))


@pytest.mark.parametrize(
    "raw, told",
    [
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"<!doctype html><html></html>", "a web page"),
        (b"PK", "cannot be read as weights"),
    ],
)
def test_what_stands_in_for_a_pickle_is_told(tmp_path: Path, raw: bytes, told: str) -> None:
    (tmp_path / "first.pt").write_bytes(raw)
    with pytest.raises(BadCheckpoint, match=told):
        list(open_weights(tmp_path, pickles=PICKLES))


def test_a_pickle_of_something_else_is_refused(tmp_path: Path) -> None:
    torch.save([torch.zeros(2)], tmp_path / "first.pt")
    with pytest.raises(BadCheckpoint, match="holds a list, not named tensors"):
        list(open_weights(tmp_path, pickles=PICKLES))
    torch.save(nn.Linear(2, 2), tmp_path / "first.pt")
    with pytest.raises(BadCheckpoint, match=r"would run torch\.nn\.modules\.linear\.Linear"):
        list(open_weights(tmp_path, pickles=PICKLES))


def test_a_folder_without_weights_is_told(tmp_path: Path) -> None:
    with pytest.raises(MissingCheckpoint, match="no such folder"):
        open_weights(tmp_path / "nowhere", pickles=PICKLES)
    with pytest.raises(BadCheckpoint, match=r"holds no model\.safetensors"):
        open_weights(tmp_path, pickles=PICKLES)
    torch.save(_state(), tmp_path / "other.pt")
    with pytest.raises(BadCheckpoint, match=r"but pickles \(other\.pt\)"):
        open_weights(tmp_path, pickles=PICKLES)


class Network(nn.Module):
    """Two parameters, a buffer that is saved and one that is not."""

    steps: Tensor
    position_ids: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 2)
        self.norm = nn.RMSNorm(3)
        self.register_buffer("steps", torch.zeros(2, dtype=torch.int64))
        self.register_buffer("position_ids", torch.zeros(1, 5).long(), persistent=False)


@pytest.fixture
def network() -> Network:
    with torch.device("meta"):
        return Network()


def _in(folder: Path, state: State) -> Weights:
    save_file(state, folder / "model.safetensors")
    return open_weights(folder)


def test_every_tensor_gets_to_its_place(network: Network, tmp_path: Path) -> None:
    fill(network, _in(tmp_path, _state()), as_named(), device=CPU, dtype=torch.float32)
    assert _same(network.state_dict(), _state())
    assert not network.training
    assert not any(value.requires_grad for value in network.parameters())
    assert isinstance(network.head.weight, nn.Parameter)


def test_floats_are_cast_and_whole_numbers_are_not(network: Network, tmp_path: Path) -> None:
    weights = _in(tmp_path, _state())
    fill(network, weights, as_named(), device=CPU, dtype=torch.bfloat16, wide=("norm.weight",))
    kinds = {name: value.dtype for name, value in network.state_dict().items()}
    assert kinds == {
        "head.weight": torch.bfloat16,
        "head.bias": torch.bfloat16,
        "norm.weight": torch.float32,
        "steps": torch.int64,
    }
    assert torch.equal(network.norm.weight, _state()["norm.weight"])


def test_prefixes_are_taken_off_and_endings_ignored(network: Network, tmp_path: Path) -> None:
    state = {f"model.{name}": value for name, value in _state().items()}
    state["model.text.position_ids"] = torch.arange(7)
    where = as_named("model.", ignore=(".position_ids",))
    fill(network, _in(tmp_path, state), where, device=CPU, dtype=torch.float32)
    assert _same(network.state_dict(), _state())


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(4, 4, bias=False) for _ in range(3))
        self.out = nn.Linear(4, 6, bias=False)


def _open_clip(name: str) -> Sequence[Place]:
    """One matrix for three, and one that is stored the other way round."""
    if name == "in_proj":
        return [
            (f"{part}.weight", lambda value, n=n: value.chunk(3)[n])  # type: ignore[misc]
            for n, part in enumerate("qkv")
        ]
    return [("out.weight", torch.t)]


def test_a_matrix_is_split_and_another_turned_on_the_way(tmp_path: Path) -> None:
    with torch.device("meta"):
        attention = Attention()
    packed, turned = torch.arange(48.0).reshape(12, 4), torch.arange(24.0).reshape(4, 6)
    weights = _in(tmp_path, {"in_proj": packed, "proj": turned})
    fill(attention, weights, _open_clip, device=CPU, dtype=torch.float32)
    assert torch.equal(attention.q.weight, packed[:4])
    assert torch.equal(attention.k.weight, packed[4:8])
    assert torch.equal(attention.v.weight, packed[8:])
    assert torch.equal(attention.out.weight, turned.T)
    assert all(value.is_contiguous() for value in attention.parameters())


def test_a_split_of_a_wrong_shape_is_told_by_its_places(tmp_path: Path) -> None:
    with torch.device("meta"):
        attention = Attention()
    weights = _in(tmp_path, {"in_proj": torch.zeros(12, 5), "proj": torch.zeros(4, 6)})
    with pytest.raises(BadCheckpoint, match=r"k\.weight: \[4, 5\] instead of \[4, 4\]"):
        fill(attention, weights, _open_clip, device=CPU, dtype=torch.float32)


@pytest.mark.parametrize("container", CONTAINERS)
def test_all_that_does_not_fit_is_listed_before_anything_is_moved(
    network: Network, container: str, tmp_path: Path
) -> None:
    state = _state()
    del state["head.bias"]
    state["norm.weight"] = torch.zeros(4)
    state["lm_head.weight"] = torch.zeros(1)
    CONTAINERS[container](state, tmp_path)
    with pytest.raises(BadCheckpoint) as caught:
        fill(
            network,
            open_weights(tmp_path, pickles=PICKLES),
            as_named(),
            device=CPU,
            dtype=torch.float32,
        )
    told = str(caught.value)
    assert "1 missing (head.bias)" in told
    assert "1 unexpected (lm_head.weight)" in told
    assert "1 of another shape (norm.weight: [4] instead of [3])" in told
    assert all(value.is_meta for value in network.state_dict().values())


def test_a_filled_network_does_not_hold_on_to_the_file(network: Network, tmp_path: Path) -> None:
    file = tmp_path / "first.pt"
    torch.save(_state(), file)
    weights = open_weights(tmp_path, pickles=PICKLES)
    fill(network, weights, as_named(), device=CPU, dtype=torch.float32)
    mapped = dict(weights)
    for name, value in network.state_dict().items():
        assert value.data_ptr() != mapped[name].data_ptr()


def test_buffers_that_no_checkpoint_holds_are_numbered(network: Network, tmp_path: Path) -> None:
    fill(network, _in(tmp_path, _state()), as_named(), device=CPU, dtype=torch.float32)
    assert network.position_ids.is_meta
    number_positions(network, CPU)
    assert network.position_ids.tolist() == [[0, 1, 2, 3, 4]]
