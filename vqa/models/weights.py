"""Weights of a checkpoint by name, whatever file they lie in, and how they get into a network.

Reads model.safetensors (or shards with an index), and the pickles that older checkpoints are
published as, these with `weights_only`: nothing in them is executed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import safe_open
from torch import Tensor, nn

from vqa.errors import BadCheckpoint
from vqa.models import fit, headers

# Where a tensor of the checkpoint goes: a name in the network, and what is done to it on the way.
Place = tuple[str, Callable[[Tensor], Tensor]]
Where = Callable[[str], Sequence[Place]]


class Weights(Protocol):
    """Named tensors that are read one by one."""

    @property
    def origin(self) -> str:
        """What messages call it: its path."""
        ...

    def outline(self) -> Iterator[tuple[str, Tensor]]:
        """Names and tensors without content, on the meta device."""
        ...

    def __iter__(self) -> Iterator[tuple[str, Tensor]]:
        """Names and tensors, on the CPU, in the order in which reading is cheap."""
        ...


@dataclass(frozen=True)
class Safetensors:
    """Weights in safetensors files whose headers were checked."""

    found: headers.Headers

    @property
    def origin(self) -> str:
        """The folder."""
        return str(self.found.folder)

    def outline(self) -> Iterator[tuple[str, Tensor]]:
        """From the headers."""
        for name, entry in self.found.entries.items():
            yield name, torch.empty(entry.shape, device="meta")

    def __iter__(self) -> Iterator[tuple[str, Tensor]]:
        """File by file."""
        for file, names in self.found.shards():
            with safe_open(file, framework="pt", device="cpu") as tensors:
                for name in names:
                    yield name, tensors.get_tensor(name)


@dataclass(frozen=True)
class Pickled:
    """Weights in a torch pickle, mapped into memory and not read until used.

    under -- the key of the state dict, where the file holds more than that.
    """

    file: Path
    under: str | None = None

    @property
    def origin(self) -> str:
        """The file."""
        return str(self.file)

    def outline(self) -> Iterator[tuple[str, Tensor]]:
        """The same names, without content."""
        return ((name, value.to("meta")) for name, value in self)

    def __iter__(self) -> Iterator[tuple[str, Tensor]]:
        """In the order of the file; entries that are no tensors are left out."""
        for name, value in self._state.items():
            if isinstance(value, Tensor):
                yield name, value

    @cached_property
    def _state(self) -> Mapping[str, Any]:
        head = _head(self.file)
        if wrong := headers.not_weights(head):
            raise BadCheckpoint(f"{self.file}: {wrong}")
        try:
            found = torch.load(
                self.file, map_location="cpu", weights_only=True, mmap=head.startswith(b"PK")
            )
        except Exception as error:  # damaged pickles make the reader raise nearly anything
            raise BadCheckpoint(f"{self.file}: {_refusal(error)}") from None
        state = found.get(self.under, found) if isinstance(found, Mapping) and self.under else found
        if not isinstance(state, Mapping):
            raise BadCheckpoint(f"{self.file}: holds a {type(state).__name__}, not named tensors")
        return state


@dataclass(frozen=True)
class Parts:
    """Weights in several files, each read by itself."""

    origin: str
    parts: Sequence[Weights]

    def outline(self) -> Iterator[tuple[str, Tensor]]:
        """File by file."""
        return ((name, value) for part in self.parts for name, value in part.outline())

    def __iter__(self) -> Iterator[tuple[str, Tensor]]:
        """File by file."""
        return ((name, value) for part in self.parts for name, value in part)


def open_weights(
    folder: str | PathLike[str], *, pickles: Sequence[str] = (), under: str | None = None
) -> Weights:
    """Find the weights in a folder: safetensors first, else the first of `pickles` that is there.

    A pickle too large for one file lies in several that NAME.index.json lists. Raises
    MissingCheckpoint or BadCheckpoint.
    """
    place = Path(folder)
    for name in () if _has_safetensors(place) else pickles:
        if (place / name).is_file():
            return Pickled(place / name, under)
        if (place / f"{name}.index.json").is_file():
            files = headers.indexed(place / f"{name}.index.json")
            return Parts(str(place), tuple(Pickled(file, under) for file in files))
    return Safetensors(headers.read(place))


def as_named(prefix: str = "", *, ignore: Iterable[str] = ()) -> Where:
    """Place tensors under their own name without a prefix; those that end in `ignore` nowhere."""
    endings = tuple(ignore)

    def where(name: str) -> Sequence[Place]:
        return () if name.endswith(endings) else ((name.removeprefix(prefix), _as_it_is),)

    return where


def fill(
    network: nn.Module,
    weights: Weights,
    where: Where,
    *,
    device: torch.device,
    dtype: torch.dtype,
    wide: Sequence[str] = (),
) -> None:
    """Put every tensor in its place in a network that was built on the meta device.

    Tensors are cast to `dtype` (those whose names end in `wide` to float32) and moved one by one.
    Buffers that no checkpoint holds must be made by the caller. Raises BadCheckpoint that lists
    what is missing, unexpected or misshapen, before anything is moved.
    """
    due = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    found = {
        target: tuple(change(outline).shape)
        for name, outline in weights.outline()
        for target, change in where(name)
    }
    fit.compare(weights.origin, found, due)
    for name, value in weights:
        for target, change in where(name):
            floating = value.is_floating_point()
            kind = torch.float32 if target.endswith(tuple(wide)) else dtype
            moved = change(value).to(device, kind if floating else value.dtype, copy=True)
            _put(network, target, moved.contiguous())
    network.requires_grad_(False).eval()


def number_positions(network: nn.Module, device: torch.device) -> None:
    """Make the buffers 0, 1, 2, ... that no checkpoint needs to hold, after `fill`."""
    for module in network.modules():
        numbers = module._buffers.get("position_ids")
        if numbers is not None:
            count = numbers.shape[-1]
            module._buffers["position_ids"] = torch.arange(count, device=device)[None]


def _put(network: nn.Module, name: str, value: Tensor) -> None:
    path, _, leaf = name.rpartition(".")
    module = network.get_submodule(path)
    if leaf in module._parameters:
        setattr(module, leaf, nn.Parameter(value, requires_grad=False))
    else:
        module._buffers[leaf] = value


def _as_it_is(value: Tensor) -> Tensor:
    return value


def _head(file: Path) -> bytes:
    try:
        with open(file, "rb") as stream:
            return stream.read(40)
    except OSError as error:
        raise BadCheckpoint(f"{file}: cannot be read ({error.strerror})") from None


def _refusal(error: Exception) -> str:
    """Say why a pickle was not read. torch's own words advise to switch the safety off."""
    if called := re.search(r"GLOBAL (\S+)", str(error)):
        return (
            f"holds more than tensors: reading it would run {called[1]}, which is refused; take"
            " safetensors, or a file of the weights alone"
        )
    return f"cannot be read as weights ({type(error).__name__}); {headers.AGAIN}"


def _has_safetensors(folder: Path) -> bool:
    return any(folder.glob("model*.safetensors*"))
