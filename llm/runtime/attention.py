"""Attention over the pages of a cache, in ways that give equal results.

`write_kv` writes tokens to their pages before any is attended to; `llm.runtime.kernels.rotary` does so on CUDA.
`attend_segments` reads each row's real length, in a loop on the host: prefill, and decoding on a CPU.
`attend_padded` takes segments of similar lengths at once, padded: prefill of several prompts on CUDA.
`attend_gathered` copies and masks a fixed span of every row: decoding with static shapes where Triton is missing.
`llm.runtime.kernels.paged_attention` reads each row's real length on the device: decoding on CUDA.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from llm.runtime.cache import PagedCache
from llm.runtime.layers import rotate

AttentionFn = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Queries [N, H, hd] and one layer's key and value pages [pages, page_tokens, KV, hd] -> mixed values [N, H, hd]."""

WriteKV = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]
"""Queries [N, H, hd], keys and values [N, KV, hd], one layer's key and value pages, written to -> rotated queries."""


@dataclass(frozen=True, slots=True)
class Segment:
    """Consecutive tokens of one row: `tokens` of them, the first at position `start` of the stream."""

    row: int
    start: int
    tokens: int


@dataclass(frozen=True, slots=True)
class _View:
    """The keys that a segment sees: tokens `first` to `last` of these pages, and which of them each query sees.

    Their order does not matter: keys are rotated by their position before they are stored.
    """

    pages: Tensor | slice  # [n], or those side by side
    first: int
    last: int
    mask: Tensor | None  # [T, last - first], added to the scores; None: every query sees all of them


def write_kv(rotary: Tensor, query_rotary: Tensor, slot_mapping: Tensor) -> WriteKV:
    """Rotate queries and keys, and write keys and values to their pages.

    Args:
        rotary: what `llm.runtime.layers.rotation` says of each token, [N, hd / 2] complex64.
        query_rotary: the same for the queries, whose length may differ from 1.
        slot_mapping: index of each token into the tokens of all pages, [N] int64.
    """

    def write(q: Tensor, k: Tensor, v: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        keys.flatten(0, 1).index_copy_(0, slot_mapping, rotate(k, rotary).to(keys.dtype))
        values.flatten(0, 1).index_copy_(0, slot_mapping, v.to(values.dtype))
        return rotate(q, query_rotary)

    return write


def attend_segments(cache: PagedCache, parts: Sequence[Segment]) -> AttentionFn:
    """Attention of packed segments [sum of T, H, hd] whose own keys and values are already in the cache."""
    views = [_view(cache, part) for part in parts]
    lengths = [part.tokens for part in parts]

    def attend(q: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        mixed: list[Tensor] = []
        for view, own in zip(views, torch.split(q, lengths), strict=True):
            grouped = own.reshape(len(own), keys.shape[2], -1, own.shape[2]).permute(1, 2, 0, 3)  # [KV, G, T, hd]
            k, v = (_visible(pages, view) for pages in (keys, values))
            attend_part = _attend_one if len(own) == 1 and own.dtype == torch.float32 else _attend
            mixed.append(attend_part(grouped, k, v, view.mask).permute(2, 0, 1, 3).flatten(1, 2))  # [T, H, hd]
        return torch.cat(mixed)

    return attend


def attend_padded(cache: PagedCache, parts: Sequence[Segment], group: int) -> AttentionFn:
    """As `attend_segments`, in one pass over all: a GPU is slow to begin and quick to compute. Not for a window.

    Args:
        cache, parts: as there.
        group: query heads of each key head. To it they are further queries.
    """
    assert cache.window is None
    device, size = cache.tables.device, cache.page_tokens
    longest = max(part.tokens for part in parts)
    tokens = -(-max(part.start + part.tokens for part in parts) // size) * size  # of the cache, padded
    rows, starts, counts = torch.tensor([(part.row, part.start, part.tokens) for part in parts]).to(device).unbind(1)
    pages = cache.tables[rows, : tokens // size]  # [S, n]
    own = torch.arange(longest, device=device)
    packed = (counts.cumsum(0) - counts)[:, None] + own.minimum(counts[:, None] - 1)  # [S, T], of the padded queries
    unpadded = torch.cat([index * longest + own[: part.tokens] for index, part in enumerate(parts)])  # [N]
    key = torch.arange(tokens, device=device)
    mask = _mask(cache, (starts[:, None] + own.repeat(group))[..., None], key)[:, None]  # [S, 1, G T, tokens]
    written = (key < (starts + counts)[:, None])[:, None, :, None]  # [S, 1, tokens, 1]

    def attend(q: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        kv_heads = keys.shape[2]
        # a mask does not hide what a failed stream left behind this one's end: 0 * NaN
        k, v = (part[pages].flatten(1, 2).transpose(1, 2).where(written, 0) for part in (keys, values))
        grouped = q[packed].reshape(len(parts), longest, kv_heads, group, -1).permute(0, 2, 3, 1, 4).flatten(2, 3)
        mixed = functional.scaled_dot_product_attention(grouped, k, v, attn_mask=mask)
        mixed = mixed.reshape(len(parts), kv_heads, group, longest, -1).permute(0, 3, 1, 2, 4)  # [S, T, KV, G, hd]
        return mixed.flatten(2, 3).flatten(0, 1)[unpadded]

    return attend


def _attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Queries [KV, G, T, hd] over keys and values [KV, n, hd], with a mask [T, n]; [KV, G, T, hd]."""
    k, v = (part.unsqueeze(1).expand(-1, q.shape[1], -1, -1) for part in (k, v))  # without a copy
    return functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)


def _attend_one(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """The same for T = 1: the heads of a group are the rows of one product, which reads the keys once for them all."""
    scores = q[:, :, 0] * q.shape[-1] ** -0.5 @ k.transpose(1, 2)  # [KV, G, n]
    weights = (scores if mask is None else scores + mask).softmax(dim=-1)
    return (weights @ v).unsqueeze(2)


def _view(cache: PagedCache, part: Segment) -> _View:
    end = part.start + part.tokens
    device = cache.tables.device

    def mask_of(keys: Tensor) -> Tensor:
        return _mask(cache, torch.arange(part.start, end, device=device)[:, None], keys)

    ring = cache.columns * cache.page_tokens
    if cache.window is not None and end > ring:  # it has gone round: read it as it lies
        age = (end - 1 - torch.arange(ring, device=device)) % ring
        return _View(_side_by_side(cache.tables[part.row]), 0, ring, mask_of(end - 1 - age))
    begin = 0 if cache.window is None else max(0, part.start - cache.window + 1)
    base = begin // cache.page_tokens
    pages = cache.tables[part.row, base : -(-end // cache.page_tokens)]
    mask = None if part.tokens == 1 else mask_of(torch.arange(begin, end, device=device))
    offset = base * cache.page_tokens
    return _View(_side_by_side(pages), begin - offset, end - offset, mask)


def _mask(cache: PagedCache, queries: Tensor, keys: Tensor) -> Tensor:
    """What to add to the scores of queries at [..., T, 1] and keys at [n], [..., T, n]."""
    visible = _visible_to(queries, keys, cache.window)
    return torch.zeros_like(visible, dtype=cache.keys.dtype).masked_fill_(~visible, float("-inf"))


def _side_by_side(pages: Tensor) -> Tensor | slice:
    """A slice if that names these pages: a CPU then reads them in place. On a GPU looking would mean waiting."""
    if pages.device.type != "cpu":
        return pages
    first, count = int(pages[0]), len(pages)
    run = torch.arange(first, first + count)
    return slice(first, first + count) if torch.equal(pages, run) else pages


def _visible_to(queries: Tensor, keys: Tensor, window: int | None) -> Tensor:
    """Whether the query at one position sees the key at another: causal, and inside the window."""
    visible = keys <= queries
    return visible if window is None else visible & (queries - keys < window)


def _visible(pages: Tensor, view: _View) -> Tensor:
    """The visible keys or values, [KV, n, hd]."""
    # index_select copies whole pages where an index copies number by number: six times faster on a CPU
    own = pages[view.pages] if isinstance(view.pages, slice) else pages.index_select(0, view.pages)
    return own.flatten(0, 1)[view.first : view.last].transpose(0, 1)


def attend_gathered(cache: PagedCache, rows: Tensor, positions: Tensor, span: int) -> AttentionFn:
    """Attention of one query per row over its newest `span` tokens, with shapes that depend on `span` alone.

    Args:
        cache: holds the keys and values, also those of the queries' own positions.
        rows, positions: [B] int64, on the cache's device.
        span: at least the number of tokens that any of these rows sees, its own included.
    """
    size = cache.page_tokens
    count = -(-span // size) + 1  # the span may begin inside a page
    newest = positions[:, None] // size
    numbers = newest - torch.arange(count - 1, -1, -1, device=rows.device)  # [B, n]; below 0: before the stream
    pages = cache.tables[rows[:, None], numbers % cache.columns]  # [B, n]
    tokens = (numbers[..., None] * size + torch.arange(size, device=rows.device)).flatten(1)  # [B, n page_tokens]
    visible = _visible_to(positions[:, None], tokens, cache.window) & (tokens >= 0)
    mask, shown = visible[:, None, None, :], visible[:, None, :, None]  # of [B, KV, G, tokens], of [B, KV, tokens, hd]

    def attend(q: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        grouped = q.reshape(len(q), keys.shape[2], -1, q.shape[2])  # [B, KV, G, hd]
        # a mask does not hide what a failed stream left: 0 * NaN
        k, v = (part[pages].flatten(1, 2).transpose(1, 2).where(shown, 0) for part in (keys, values))
        return functional.scaled_dot_product_attention(grouped, k, v, attn_mask=mask).flatten(1, 2)

    return attend
