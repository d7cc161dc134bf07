"""A key/value cache that many questions read and none changes."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer, DynamicSlidingWindowLayer

# Layers whose update makes new tensors and leaves the old ones as they are.
_GROWING = (DynamicLayer, DynamicSlidingWindowLayer)


def shared(cache: Cache, rows: int) -> Cache:
    """Give a cache of batch size 1 as one of `rows` that stand for the same tokens.

    A layer of keys and values hands the model the old ones with the new ones behind them and
    forgets these again, so that there is a copy for one layer at a time only. Other layers (the
    states of linear attention, which are overwritten and small) are copied. `cache` stays as it is.
    """
    found = copy.copy(cache)
    found.layers = [_borrowed(layer, rows) for layer in cache.layers]
    return found


def _borrowed(layer: Any, rows: int) -> Any:
    if type(layer) not in _GROWING or not layer.is_initialized:
        mine = copy.deepcopy(layer)
        mine.reorder_cache(torch.zeros(rows, dtype=torch.long))
        return mine

    def update(keys: Tensor, values: Tensor, *rest: Any, **more: Any) -> tuple[Tensor, Tensor]:
        once = copy.copy(layer)
        once.keys = layer.keys.expand(rows, -1, -1, -1)
        once.values = layer.values.expand(rows, -1, -1, -1)
        both: tuple[Tensor, Tensor] = once.update(keys, values, *rest, **more)
        return both

    mine = copy.copy(layer)
    mine.update = update
    return mine
