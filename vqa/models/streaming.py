"""Weights from a checkpoint into a network, tensor by tensor, each straight to its device.

The network is built on the meta device, so at no time is there more in memory than what is loaded
already and the tensor at hand. Only `safetensors` reads the files: nothing in them can run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vqa.errors import BadCheckpoint, OutOfMemory
from vqa.models.headers import AGAIN, Headers
from vqa.models.placement import Placement
from vqa.models.quiet import quiet

# Given the name of a linear layer whose tensors have all arrived, and the layer: what replaces it.
Transform = Callable[[str, nn.Linear], nn.Module]


def load_into(
    model: nn.Module,
    headers: Headers,
    placement: Placement,
    *,
    transform: Transform | None = None,
    whole: tuple[str, ...] = (),
) -> None:
    """Fill a network that was built on the meta device, and leave it ready to run.

    Every tensor, buffers included, is cast to the dtype of the placement. `transform` sees each
    linear layer as soon as it is complete, on its device, and before the next tensor is read. Parts
    whose home is "disk" stay in the checkpoint, and are fetched for each pass with those of
    main memory; `whole` names the classes of modules that are fetched at once.

    Raises BadCheckpoint when a file has changed since its header was read; OutOfMemory.
    """
    model.to(placement.dtype)
    filling = _Filling(model, transform)
    with torch.no_grad(), _explained(placement):
        for file, names in headers.shards():
            _load_file(file, [n for n in names if n in filling.places], filling, placement)
        filling.check(placement)
        model.requires_grad_(False).eval()
        if placement.spread:
            _dispatch(filling, headers, placement, whole)


class _Filling:
    """Where the tensors of a network belong, and which are still to come."""

    def __init__(self, model: nn.Module, transform: Transform | None) -> None:
        self.model, self.transform = model, transform
        self.modules = dict(model.named_modules(remove_duplicate=False))
        self.places: dict[str, list[str]] = {}  # a tied tensor goes to all its places at once
        self.waiting: dict[str, set[str]] = {}  # module -> tensors still to come
        same: dict[int, list[str]] = {}
        for path, module in self.modules.items():
            for leaf, tensor in (*module._parameters.items(), *module._buffers.items()):
                if tensor is not None:
                    name = f"{path}.{leaf}" if path else leaf
                    self.places[name] = same.setdefault(id(tensor), [])
                    self.places[name].append(name)
                    self.waiting.setdefault(path, set()).add(name)

    def home(self, name: str, placement: Placement) -> str:
        """Give where a tensor must be: on disk only if all its places are, and it is no buffer."""
        homes = [placement.home(place) for place in self.places[name]]
        path, _, leaf = name.rpartition(".")
        if set(homes) == {"disk"} and leaf in self.modules[path]._buffers:
            return str(placement.device)
        return next((home for home in homes if home != "disk"), "disk")

    def put(self, name: str, value: Tensor) -> None:
        """Assign a tensor in all its places, and hand on the linear layers this completes."""
        parameter = nn.Parameter(value, requires_grad=False)
        for place in self.places[name]:
            path, _, leaf = place.rpartition(".")
            module = self.modules[path]
            if getattr(module, leaf).shape != value.shape:
                raise BadCheckpoint(f"{name}: changed its shape since it was checked; {AGAIN}")
            if leaf in module._buffers:
                module._buffers[leaf] = value
            else:
                module._parameters[leaf] = parameter
            self.waiting[path].discard(place)
            if self.transform and path and not self.waiting[path] and isinstance(module, nn.Linear):
                self._replace(path, self.transform(path, module))

    def _replace(self, path: str, module: nn.Module) -> None:
        above, _, leaf = path.rpartition(".")
        setattr(self.modules[above], leaf, module)
        self.modules[path] = module  # or the old one would be kept alive here

    def check(self, placement: Placement) -> None:
        """Raise if something was never filled: the network has more than was checked."""
        empty = [
            name
            for name, tensor in (*self.model.named_parameters(), *self.model.named_buffers())
            if tensor.is_meta and placement.home(name) != "disk"
        ]
        if empty:
            raise RuntimeError(f"no weights were loaded for {', '.join(empty[:10])}")


def _load_file(file: Path, names: list[str], filling: _Filling, placement: Placement) -> None:
    from safetensors import safe_open

    with ExitStack() as stack:
        opened: dict[str, Any] = {}
        for name in names:
            home = filling.home(name, placement)
            if home == "disk":
                continue
            if home not in opened:
                opened[home] = stack.enter_context(safe_open(file, framework="pt", device=home))
            value = opened[home].get_tensor(name)
            dtype = placement.dtype if value.is_floating_point() else value.dtype
            # A copy even where nothing is cast: the CPU's tensor is a window into the file, and a
            # checkpoint that is replaced while in use must not change or crash the network.
            filling.put(name, value.to(dtype, copy=home == "cpu"))


def _dispatch(
    filling: _Filling, headers: Headers, placement: Placement, whole: tuple[str, ...]
) -> None:
    from accelerate import dispatch_model  # type: ignore[import-untyped]

    dtype = str(placement.dtype).removeprefix("torch.")
    on_disk = {
        place: {"safetensors_file": str(entry.file), "weight_name": name, "dtype": dtype}
        for name, entry in headers.entries.items()
        for place in filling.places.get(name, ())
        if placement.home(place) == "disk"
    }
    homes = {n: int(h[5:]) if h.startswith("cuda:") else h for n, h in placement.homes.items()}
    main = placement.device.index if placement.device.type == "cuda" else "cpu"
    with quiet("accelerate.big_modeling"):
        dispatch_model(
            filling.model,
            device_map=homes,
            main_device=main,
            offload_index=on_disk or None,
            preload_module_classes=list(whole),
        )


@contextmanager
def _explained(placement: Placement) -> Iterator[None]:
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, SafetensorError) as error:
        raise BadCheckpoint(
            f"the checkpoint changed while it was read ({error}); {AGAIN}"
        ) from None
    except RuntimeError as error:  # torch's two kinds of it, for cards and for main memory
        if isinstance(error, torch.cuda.OutOfMemoryError) or "can't allocate memory" in str(error):
            raise OutOfMemory(
                f"memory ran out while {placement} was loaded: something else takes it; free it, or"
                " take quantize='int8' or 'int4', or a smaller dtype"
            ) from None
        raise
