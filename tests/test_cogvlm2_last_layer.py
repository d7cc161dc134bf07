"""Rows left out because nobody looks at them, keys repeated for a kernel: both change nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.speed import made
from vqa.models.cogvlm2.attention import Cache, Segment, Segments, per_query_head
from vqa.models.cogvlm2.decoder import Kinds


@pytest.mark.parametrize("experts", [False, True])
def test_some_rows_are_what_they_are_among_all(experts: bool) -> None:
    config = replace(made.sizes(hidden=512, layers=2, image_size=56), experts=experts)
    model = made.network(config, device=torch.device("cpu"), dtype=torch.float32)
    hidden, size = torch.randn(40, 512), 40
    kinds = Kinds(torch.arange(3, 20), torch.tensor([0, 1, 2, *range(20, 40)]))

    def states(rows: list[int]) -> torch.Tensor:
        with torch.inference_mode():
            return model.decode(
                hidden,
                torch.arange(size),
                Segments([Segment(Cache(), size, [], keep=False)]),
                kinds=kinds if experts else None,
                rows=torch.tensor(rows),
            )

    everything = states([*range(size)])
    for rows in ([39], [4, 19, 20, 38], [7, 3], [0, 30]):
        assert torch.allclose(states(rows), everything[rows], rtol=0, atol=2e-6)


@given(st.sets(st.integers(0, 29)), st.permutations(range(30)), st.integers(0, 30))
def test_kinds_of_some_rows_are_theirs(vision: set[int], order: list[int], count: int) -> None:
    kinds = Kinds(torch.tensor(sorted(vision)), torch.tensor(sorted({*range(30)} - vision)))
    rows = order[:count]
    found = kinds.among(torch.tensor(rows, dtype=torch.int64))
    assert [rows[place] for place in found.vision.tolist()] == [r for r in rows if r in vision]
    assert [rows[place] for place in found.language] == [r for r in rows if r not in vision]


def test_repeated_keys_give_what_grouped_heads_give() -> None:
    q, k, v = torch.randn(5, 8, 16), torch.randn(9, 2, 16), torch.randn(9, 2, 16)
    mask = torch.zeros(5, 9).masked_fill(torch.rand(5, 9) < 0.3, float("-inf"))
    mask[:, 0] = 0

    def mixed(keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        one, two, three = (x.transpose(0, 1)[None] for x in (q, keys, values))
        return F.scaled_dot_product_attention(one, two, three, attn_mask=mask, enable_gqa=True)

    repeated = mixed(per_query_head(k, 8), per_query_head(v, 8))
    assert torch.allclose(repeated, mixed(k, v), rtol=0, atol=1e-6)
