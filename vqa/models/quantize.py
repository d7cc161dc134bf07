"""Linear layers whose weights stay in 8 or 4 bits; bitsandbytes rounds and unpacks them.

Only weights are rounded. For a product the layer unpacks its weight into the dtype of the input and
lets go of it afterwards: one layer's worth of memory (0.1 GB at most in CogVLM2), exact sums,
and the same numbers on every device up to the order of summation.

    int8   one scale per output row, rounded to nearest: step = largest |w| of the row / 127
    int4   NF4: 16 levels at the quantiles of a normal distribution, one scale per 64 weights
           (Dettmers et al., QLoRA, arXiv 2305.14314)

Rejected: bitsandbytes' `Linear8bitLt`, which rounds the activations too and casts them to float16
(a tower without norms on its residual stream may leave its range); its `Linear4bit`, which repacks
weights and computes in bfloat16 on some CPUs whatever the dtype; torchao 0.18, whose int4 needs
CUDA and whose int8 multiplies before it scales, which overflows float16.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from types import ModuleType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqa.errors import BadArgument, NotAvailable
from vqa.models.sizes import BLOCK, Quantize


def quantize_linear(linear: nn.Linear, how: Quantize) -> nn.Module:
    """Give a layer that stands in for `linear` and holds its weight in 8 or 4 bits.

    The layer lies on the device of `linear` and takes over its bias; `linear` can be dropped. Any
    size works, on CPU and on CUDA, from float32, bfloat16 and float16. `.to()` moves the layer and
    casts the bias; weight and scales keep their bits. There is no `weight` to index or to read
    the model's dtype from: call the layer.

    Raises NotAvailable without bitsandbytes, BadArgument for another `how`.
    """
    kinds: dict[str, Callable[[nn.Linear], nn.Module]] = {"int8": Int8Linear, "int4": Int4Linear}
    if how not in kinds:
        raise BadArgument(f"quantize must be 'int8', 'int4' or None, not {how!r}")
    with torch.no_grad():
        return kinds[how](linear)


def quantize_layers(
    model: nn.Module, how: Quantize, *, wanted: Callable[[str, tuple[int, ...]], bool]
) -> list[str]:
    """Quantise the linear layers of a loaded model in place, one at a time; give their names.

    wanted -- tells by the name and shape of its weight whether a layer is to be quantised, such as
    `vqa.models.cogvlm2.memory.is_quantised`.
    """
    names = [
        name
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Linear) and wanted(f"{name}.weight", tuple(layer.weight.shape))
    ]
    for name in names:
        parent, _, own = name.rpartition(".")
        owner = model.get_submodule(parent)
        setattr(owner, own, quantize_linear(getattr(owner, own), how))
    return names


def check_installed() -> None:
    """Raise NotAvailable unless bitsandbytes is installed; asks in a millisecond, imports nothing.

    For callers that are about to read a large checkpoint.
    """
    if importlib.util.find_spec("bitsandbytes") is None:
        raise _missing()


def held_bytes(module: nn.Module) -> int:
    """Bytes of the storages behind all weights and buffers of a module, quantised ones included.

    A storage that two layers share counts for both, as it would on two devices.
    """
    return sum(_own_bytes(part) for part in module.modules())


class Int8Linear(nn.Module):
    """A linear layer with an int8 weight (out, in) and a float32 scale per row (out, 1)."""

    scale: Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight = linear.weight.detach().to(torch.float16)  # all that the kernel for CUDA takes
        rounded, largest, _ = _functional().int8_vectorwise_quant(weight)
        self.packed = nn.Parameter(rounded, requires_grad=False)
        self.register_buffer("scale", largest[:, None] / 127)
        self.bias = linear.bias

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out), in the dtype of x."""
        return F.linear(x, self.packed.to(x.dtype).mul_(self.scale), self.bias)

    def extra_repr(self) -> str:
        """Sizes, for print(model)."""
        rows, columns = self.packed.shape
        return f"in_features={columns}, out_features={rows}, bias={self.bias is not None}"

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Int8Linear:
        exact = self.scale
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        # A model cast to bfloat16 would shift every weight of a row by up to 0.4 %.
        self.scale = exact.to(self.packed.device)
        return self


class Int4Linear(nn.Module):
    """A linear layer with an NF4 weight; its scales live in `packed.quant_state`."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        functional = _functional()
        from bitsandbytes.nn.modules import Params4bit

        rounded, state = functional.quantize_4bit(
            linear.weight.detach().contiguous(),
            blocksize=BLOCK,
            compress_statistics=True,
            quant_type="nf4",
        )
        self.size = tuple(linear.weight.shape)
        self.packed = Params4bit(rounded, quant_state=state, quant_type="nf4", bnb_quantized=True)
        self.bias = linear.bias

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out), in the dtype of x."""
        weight = _functional().dequantize_4bit(self.packed.data, self.packed.quant_state)
        return F.linear(x, weight.view(self.size).to(x.dtype), self.bias)

    def extra_repr(self) -> str:
        """Sizes, for print(model)."""
        rows, columns = self.size
        return f"in_features={columns}, out_features={rows}, bias={self.bias is not None}"


def _functional() -> ModuleType:
    try:
        import bitsandbytes.functional
    except ImportError:
        raise _missing() from None
    return bitsandbytes.functional


def _missing() -> NotAvailable:
    return NotAvailable(
        "quantize needs the package bitsandbytes, which is not installed: pip install"
        " 'vqa-visionreward[quantize]', or load without quantize"
    )


def _own_bytes(module: nn.Module) -> int:
    storages = (tensor.untyped_storage() for tensor in _tensors(module))
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    """The tensors of one module, and what bitsandbytes keeps beside a weight in 4 bits."""
    for tensor in [*module.parameters(recurse=False), *module.buffers(recurse=False)]:
        yield tensor
        if (state := getattr(tensor, "quant_state", None)) is not None:
            yield from (state.absmax, state.code, state.offset)
            yield from (state.state2.absmax, state.state2.code)
