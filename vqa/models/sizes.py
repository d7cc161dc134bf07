"""How many bytes a weight takes, plain or quantised; needs no torch, so that counting is instant.

`vqa/models/quantize.py` stores weights so; the tests hold the two together, byte for byte.
"""

from __future__ import annotations

from math import ceil, prod
from typing import Literal, TypeAlias

Quantize: TypeAlias = Literal["int8", "int4"]

DTYPE_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
BLOCK, BLOCK_OF_SCALES = 64, 256  # of NF4: weights that share a scale, scales that share another
_TABLES = 4 * (16 + 256) + 4  # of every NF4 layer: its two code books and the mean of its scales


def plain_bytes(shape: tuple[int, ...], dtype: str) -> int:
    """Bytes of a tensor of this shape as "float32", "bfloat16" or "float16"."""
    return prod(shape) * DTYPE_BYTES[dtype]


def quantised_bytes(shape: tuple[int, ...], how: Quantize) -> int:
    """Bytes of a weight (out, in) in 8 bits and a float32 scale per row, or in 4 bits.

    In 4 bits 64 weights share a scale in 8 bits, and 256 of those a float32 (QLoRA, arXiv
    2305.14314, section 3): 4.127 bits per weight and 1 kB of tables.
    """
    size = prod(shape)
    if how == "int8":
        return size + 4 * shape[0]
    scales = ceil(size / BLOCK)
    return ceil(size / 2) + scales + 4 * ceil(scales / BLOCK_OF_SCALES) + _TABLES
