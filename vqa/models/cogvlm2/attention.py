"""Who sees whom in a pass: the head of a clip causally, a question its clip's head and itself.

    keys:          head of clip A   A1   A2   head of clip B   B1
    head of A      causal
    question A1    all              causal
    question A2    all                   causal
    head of B                                 causal
    question B1                               all              causal

Nothing here is shared between clips: every segment has keys and values of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from einops import repeat
from torch import Tensor

# Questions about a clip are mixed in groups of about this many tokens: one kernel call for a group,
# and what is wasted on other questions inside the group stays small against the linear layers.
GROUP_TOKENS = 384

Pair = tuple[Tensor, Tensor]


@dataclass(eq=False)
class Cache:
    """Keys and values (L, kv heads, d) of the head of one clip, by layer; never seen by another."""

    layers: dict[int, Pair] = field(default_factory=dict)

    def extended(self, layer: int, keys: Tensor, values: Tensor, *, keep: bool) -> Pair:
        """Append to a layer and give all of it; `keep` for later passes."""
        if layer in self.layers:
            past_keys, past_values = self.layers[layer]
            keys, values = torch.cat((past_keys, keys)), torch.cat((past_values, values))
        if keep:
            self.layers[layer] = keys, values
        return keys, values


@dataclass(eq=False)
class Segment:
    """The rows of one clip in a pass: `head` rows that continue its cache, then its questions.

    keep -- whether later passes will look back at the head.
    """

    cache: Cache
    head: int
    tails: Sequence[int]
    keep: bool
    _masks: dict[tuple[int, torch.device], Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return self.head + sum(self.tails)

    def groups(self) -> Iterator[tuple[int, Sequence[int]]]:
        """Runs of questions: the first row of each, and the lengths of its questions."""
        start, lengths = self.head, list[int]()
        for length in self.tails:
            if lengths and sum(lengths) + length > GROUP_TOKENS:
                yield start, lengths
                start, lengths = start + sum(lengths), []
            lengths.append(length)
        if lengths:
            yield start, lengths

    def mix(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attend within this clip: (rows, heads, d) and (rows, kv heads, d) -> (rows, heads, d)."""
        head = slice(0, self.head)
        keys, values = self.cache.extended(layer, k[head], v[head], keep=self.keep)
        mixed = [attention(q[head], keys, values)] if self.head else []
        for start, lengths in self.groups():
            rows = slice(start, start + sum(lengths))
            both = torch.cat((keys, k[rows])), torch.cat((values, v[rows]))
            mask = self._mask(start, lengths, len(keys), q)
            mixed.append(attention(q[rows], *both, mask=mask))
        return torch.cat(mixed)

    def _mask(self, start: int, lengths: Sequence[int], past: int, like: Tensor) -> Tensor:
        """Zero where a question may look, minus infinity elsewhere; the same in every layer."""
        known = start, like.device
        if known not in self._masks:
            question = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))
            own = (question[:, None] == question).tril()
            mask = torch.zeros(len(own), past + len(own), dtype=like.dtype)
            mask[:, past:].masked_fill_(~own, float("-inf"))
            self._masks[known] = mask.to(like.device)
        return self._masks[known]


@dataclass(eq=False)
class Segments:
    """`Attend` for a whole pass: each clip by itself."""

    parts: Sequence[Segment]

    def __call__(self, layer: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """(N, heads, d), (N, kv heads, d) twice -> (N, heads, d)."""
        lengths = [len(part) for part in self.parts]
        split = (torch.split(x, lengths) for x in (queries, keys, values))
        rows = zip(self.parts, *split, strict=True)
        return torch.cat([part.mix(layer, q, k, v) for part, q, k, v in rows])


def attention(q: Tensor, k: Tensor, v: Tensor, *, mask: Tensor | None = None) -> Tensor:
    """Softmax attention of q (n, heads, d) over k, v (m, kv heads, d) -> (n, heads, d).

    Without a mask the queries are the last n of the m tokens and see what is not after them.
    """
    n, m = len(q), len(k)
    if mask is None and 1 < n < m:
        after = torch.ones(n, m, dtype=torch.bool, device=q.device).triu(m - n + 1)
        mask = torch.zeros(n, m, dtype=q.dtype, device=q.device).masked_fill_(after, float("-inf"))
    if mask is not None and q.is_cuda:
        # The fused CUDA kernel that takes a mask takes no grouped heads in most releases, and what
        # runs instead writes float32 scores to memory. A CPU's kernel takes both.
        k, v = per_query_head(k, q.shape[1]), per_query_head(v, q.shape[1])
    q, k, v = (x.transpose(0, 1)[None] for x in (q, k, v))
    causal = mask is None and n == m
    mixed = F.scaled_dot_product_attention(
        q, k, v, attn_mask=mask, is_causal=causal, enable_gqa=q.shape[1] != k.shape[1]
    )
    return mixed[0].transpose(0, 1)


def per_query_head(x: Tensor, heads: int) -> Tensor:
    """Repeat keys or values (m, kv heads, d) for the query heads they serve -> (m, heads, d)."""
    return repeat(x, "m kv d -> m (kv group) d", group=heads // x.shape[1])
