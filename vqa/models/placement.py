"""Where a network goes: onto one device, or in parts over several cards, main memory and disk.

Everything is counted from shapes before a byte is read, so a network that does not fit is refused
at once, with what would fit.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import torch
from torch import nn

from vqa.errors import BadArgument, NotAvailable, OutOfMemory
from vqa.models.machine import Machine, free_ram
from vqa.models.quiet import quiet
from vqa.models.sizes import DTYPE_BYTES, Quantize, plain_bytes, quantised_bytes

# Left free on a card for passes: what CUDA takes for itself, and a pass of a small batch.
ROOM = 2_000_000_000
AMPERE = 8  # the first generation whose cards compute in bfloat16
SHORT_NAMES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
KINDS = ("cpu", "cuda", "mps", "xpu")


@dataclass(frozen=True)
class Placement:
    """Where every part of a network goes, and as what.

    device -- where the work begins: send input there. homes -- module -> "cuda:0", "cpu" or "disk",
    {"": device} when all of it is in one place. bytes -- of all weights once loaded.
    """

    device: torch.device
    dtype: torch.dtype
    homes: Mapping[str, str]
    bytes: int

    @property
    def spread(self) -> bool:
        """Whether parts of it are elsewhere than on `device`."""
        return set(self.homes.values()) != {str(self.device)}

    def home(self, name: str) -> str:
        """Give the home of a module or tensor."""
        while name and name not in self.homes:
            name = name.rpartition(".")[0]
        return self.homes[name]

    def __str__(self) -> str:
        parts = list(self.homes.values())
        counts = ", ".join(f"{parts.count(home)} on {home}" for home in dict.fromkeys(parts))
        where = f"parts: {counts}" if self.spread else f"on {self.device}"
        return f"{_gb(self.bytes)} in {str(self.dtype).removeprefix('torch.')}, {where}"


@dataclass(frozen=True)
class Weights:
    """What a network's tensors take as a dtype; those in `quantised` in 8 or 4 bits."""

    shapes: Mapping[str, tuple[int, ...]]
    dtype: str
    quantize: Quantize | None = None
    quantised: Collection[str] = ()

    @property
    def bytes(self) -> int:
        """Bytes of all of them."""
        return sum(map(self.bytes_of, self.shapes))

    def bytes_of(self, name: str) -> int:
        """Bytes of one tensor."""
        if self.quantize and name in self.quantised:
            return quantised_bytes(self.shapes[name], self.quantize)
        return plain_bytes(self.shapes[name], self.dtype)

    def part(self, module: str) -> int:
        """Bytes of one module."""
        return sum(self.bytes_of(name) for name in self.shapes if name.startswith(f"{module}."))

    def __str__(self) -> str:
        kind = f"{self.dtype}, {self.quantize}" if self.quantize else self.dtype
        return f"{_gb(self.bytes)} of weights ({kind})"


def place(
    model: nn.Module,
    *,
    device: str = "auto",
    dtype: str = "auto",
    quantize: Quantize | None = None,
    quantised: Collection[str] = (),
    max_memory: Mapping[int | str, int | str] | None = None,
    whole: Collection[str] = (),
    resident: Collection[str] = (),
    machine: Machine | None = None,
) -> Placement:
    """Plan where a network goes that was built on the meta device.

    device -- "auto": the first card that it fits on, else all cards and main memory together; the
    CPU where there is no card. Or "cpu", "cuda", "cuda:1". dtype -- "auto" is bfloat16, and float16
    on cards older than Ampere. quantised -- tensors that `quantize` is for. max_memory -- with
    "auto": bytes or "10GB" per card (by number) and for "cpu"; what is left goes to "disk", that is
    it stays in the checkpoint until it is needed. whole -- classes of modules that stay together.
    resident -- modules whose weights are read without calling them, so they are always loaded.

    Raises OutOfMemory with the bytes needed, the bytes there and what would fit; NotAvailable for a
    device that is not there; BadArgument.
    """
    if machine is None:  # looking at a card takes half a GB of it
        machine = Machine(free_ram()) if device == "cpu" else Machine.here()
    target = device if device == "auto" else named_device(device, machine)
    if max_memory is not None and target != "auto":
        raise BadArgument(f"max_memory deals parts out to devices; device={device!r} is only one")
    kind = named_dtype(dtype, device=target, machine=machine)
    shapes = {name: tuple(value.shape) for name, value in _tensors(model).items()}
    weights = Weights(shapes, kind, quantize, frozenset(quantised))
    if target == "auto" and max_memory is None:
        target = _first_fit(weights.bytes, machine)
    if target != "auto":
        free = machine.free(target)
        if free is not None and weights.bytes > free:
            raise _too_big(weights, target, free, free)
        return Placement(torch.device(target), _torch(kind), {"": target}, weights.bytes)
    budgets = _budgets(machine) if max_memory is None else _by_hand(max_memory, machine)
    homes, main = _deal_out(model, weights, budgets, whole=whole, resident=resident)
    _check_parked(weights, set(homes.values()) - {main}, machine, by_hand=max_memory is not None)
    return Placement(torch.device(main), _torch(kind), homes, weights.bytes)


def one_device(device: str, dtype: str) -> tuple[torch.device, torch.dtype]:
    """Give the device and dtype of a network that is small enough for one device.

    "auto" is the first card, or the CPU where there is none. Raises BadArgument, NotAvailable.
    """
    machine = Machine(free_ram()) if device == "cpu" else Machine.here()
    if device == "auto":
        device = "cuda:0" if machine.cards else "cpu"
    where = named_device(device, machine)
    return torch.device(where), _torch(named_dtype(dtype, device=where, machine=machine))


def named_device(device: str, machine: Machine) -> str:
    """Check the name of a device; "cuda" becomes "cuda:0"."""
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError):
        found = None
    if found is None or found.type not in KINDS:
        raise BadArgument(f"device must be 'auto', 'cpu', 'cuda' or 'cuda:1', not {device!r}")
    if found.type != "cuda":
        return str(found)
    number, count = found.index or 0, len(machine.cards)
    if number >= count:
        raise NotAvailable(
            f"device {device!r}: torch {torch.__version__} sees {count} CUDA cards here; take"
            " device='cpu' or 'auto', or install a driver and a torch with CUDA"
        )
    return f"cuda:{number}"


def named_dtype(dtype: str, *, device: str = "auto", machine: Machine) -> str:
    """Give "float32", "bfloat16" or "float16" for a name, a short name, or "auto" on a device."""
    dtype = SHORT_NAMES.get(dtype, dtype)
    if dtype != "auto" and dtype not in DTYPE_BYTES:
        raise BadArgument(f"dtype must be 'auto', {', '.join(DTYPE_BYTES)}, not {dtype!r}")
    if dtype != "auto":
        return dtype
    used = [c for n, c in enumerate(machine.cards) if device in ("auto", f"cuda:{n}")]
    return "float16" if any(card.generation < AMPERE for card in used) else "bfloat16"


def _first_fit(need: int, machine: Machine) -> str:
    fitting = [f"cuda:{n}" for n, card in enumerate(machine.cards) if card.free >= need + ROOM]
    return (fitting or ["auto"])[0] if machine.cards else "cpu"


def _budgets(machine: Machine) -> dict[int | str, int]:
    budgets: dict[int | str, int] = {"cpu": sys.maxsize}
    if machine.ram is not None:
        budgets["cpu"] = int(0.9 * machine.ram)
    return budgets | {n: max(0, card.free - ROOM) for n, card in enumerate(machine.cards)}


def _by_hand(max_memory: Mapping[int | str, int | str], machine: Machine) -> dict[int | str, int]:
    from accelerate.utils import convert_file_size_to_int  # type: ignore[import-untyped]

    count = len(machine.cards)
    try:
        found = {key: convert_file_size_to_int(size) for key, size in max_memory.items()}
    except ValueError as error:
        raise BadArgument(f"max_memory wants bytes, or text such as '10GB': {error}") from None
    if unknown := [key for key in found if key not in (*range(count), "cpu", "disk")]:
        raise BadArgument(
            f"max_memory: {unknown[0]!r} is no place here; there are {count} cards, from 0 on,"
            " and 'cpu'"
        )
    return found | {"cpu": found.get("cpu", 0)}


def _deal_out(
    model: nn.Module,
    weights: Weights,
    budgets: dict[int | str, int],
    *,
    whole: Collection[str],
    resident: Collection[str],
) -> tuple[dict[str, str], str]:
    """Deal the parts out in their order, cards first; give their homes and the main device."""
    from accelerate import infer_auto_device_map  # type: ignore[import-untyped]
    from accelerate.utils import CustomDtype

    main = min((key for key in budgets if isinstance(key, int)), default="cpu")
    kept = sum(map(weights.part, resident))
    budgets = budgets | {main: max(0, budgets[main] - kept)}
    packed = {"int8": torch.int8, "int4": CustomDtype.INT4}.get(weights.quantize or "")
    with quiet("accelerate.utils.modeling"):
        dealt = infer_auto_device_map(
            model,
            max_memory=budgets,
            no_split_module_classes=list(whole),
            dtype=_torch(weights.dtype),
            special_dtypes=dict.fromkeys(weights.quantised, packed) if packed else None,
            clean_result=False,
        )
    homes = {n: f"cuda:{home}" if isinstance(home, int) else str(home) for n, home in dealt.items()}
    first = f"cuda:{main}" if isinstance(main, int) else "cpu"
    for name in resident:
        _part_out(model, homes, name)
    inside = tuple(f"{home}." for home in homes)
    # Tensors that belong to a module whose parts were dealt out, such as a class token: they are
    # small, and no call of a module of their own could fetch them.
    loose = [n for n in _tensors(model) if n in homes or not n.startswith(inside)]
    parked = [n for n in (*resident, *loose) if homes.get(n, "disk") in ("cpu", "disk")]
    return homes | dict.fromkeys(parked, first), first


def _part_out(model: nn.Module, homes: dict[str, str], name: str) -> None:
    """Give a module an entry of its own in `homes`, and its neighbours theirs."""
    for part in [part for part in homes if part.startswith(f"{name}.")]:
        del homes[part]
    names = name.split(".")
    for above in (".".join(names[:length]) for length in range(len(names))):
        if above in homes:
            home = homes.pop(above)
            for child, _ in model.get_submodule(above).named_children():
                homes[f"{above}.{child}" if above else child] = home


def _check_parked(
    weights: Weights, elsewhere: Collection[str], machine: Machine, *, by_hand: bool
) -> None:
    parked = {"cpu", "disk"} & set(elsewhere)
    if by_hand and parked and weights.quantize:
        raise BadArgument(
            f"quantize={weights.quantize!r} needs all parts on cards; raise max_memory, or leave"
            " quantize out"
        )
    if not by_hand and ("disk" in parked or (parked and weights.quantize)):
        cards = sum(max(0, card.free - ROOM) for card in machine.cards)
        free = cards if weights.quantize else cards + (machine.ram or 0)
        where = "all cards" if weights.quantize else "all cards and cpu"
        raise _too_big(weights, where, free, cards)


def _too_big(weights: Weights, where: str, free: int, free_for_quantised: int) -> OutOfMemory:
    smaller = {
        "dtype='bfloat16'": (replace(weights, dtype="bfloat16"), free),
        "quantize='int8'": (replace(weights, quantize="int8"), free_for_quantised),
        "quantize='int4'": (replace(weights, quantize="int4"), free_for_quantised),
    }
    ways = [
        f"{how} ({_gb(other.bytes)})"
        for how, (other, room) in smaller.items()
        if other.bytes < weights.bytes and other.bytes <= room
    ]
    plain = " without quantize" if weights.quantize else ""
    if where == "cpu" or not (plain or where.startswith("cuda")):
        ways.append(f"max_memory={{'cpu': '8GB'}}{plain}: the rest stays on disk, very slow")
    else:
        ways.append(f"device='auto'{plain}: the rest goes into main memory, slow")
    return OutOfMemory(
        f"{weights} do not fit: {where}: {_gb(free)} free; take {', or '.join(ways)}"
    )


def _tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    """Give all parameters and buffers by name, those with two names once."""
    return dict((*model.named_parameters(), *model.named_buffers()))


def _torch(dtype: str) -> torch.dtype:
    found: torch.dtype = getattr(torch, dtype)
    return found


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f} GB"
