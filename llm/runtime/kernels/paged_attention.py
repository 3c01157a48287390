"""Decode attention on CUDA: the queries of a row read just the pages of its real length, found on the device.

Split-KV flash decoding in two Triton kernels: the pages of a row are dealt out over `splits` programs for each key
head, which attend with all query heads of their group, of every query; a second pass joins the parts.
`attend_segments` is the twin. Imported on machines with CUDA only. Triton reads the kernels' annotations: it must see
`constexpr` under this name and must not see `Any`.
"""

from typing import TYPE_CHECKING, Any, cast

import torch
import triton as _triton  # pyright: ignore[reportMissingImports, reportMissingTypeStubs]  # comes with the CUDA builds of torch
import triton.language as _language  # pyright: ignore[reportMissingImports, reportMissingTypeStubs]
from torch import Tensor

from llm.runtime.attention import AttentionFn
from llm.runtime.cache import PagedCache

triton = cast("Any", _triton)
tl = cast("Any", _language)

if TYPE_CHECKING:
    constexpr = int  # what a kernel's compile-time arguments are to its caller
else:
    constexpr = tl.constexpr

TENSOR_CORE_SIZE = 16  # least size of a matrix product on tensor cores: groups of query heads and heads are padded
PROGRAMS = 256  # about two for each multiprocessor of a large card
MOST_SPLITS = 32


@triton.jit
def _attend_part(
    q: "Any",  # [B, Q, KV G, HD]
    keys: "Any",  # [pages, PAGE, KV, HD]
    values: "Any",
    tables: "Any",  # [rows, columns]
    rows: "Any",  # [B]
    positions: "Any",  # [B], of the first query
    peaks: "Any",  # [B, KV, SPLITS, PADDED] float32: largest score of the part
    totals: "Any",  # like peaks: sum of exp(score - peak)
    mixed: "Any",  # [B, KV, SPLITS, PADDED, WIDTH] float32: values weighted with exp(score - peak)
    scale: "Any",
    columns: "Any",
    window: "Any",  # no position is so large where there is none
    Q: constexpr,  # noqa: N803
    KV: constexpr,  # noqa: N803
    G: constexpr,  # noqa: N803
    PADDED: constexpr,  # noqa: N803  # Q G padded
    HD: constexpr,  # noqa: N803
    WIDTH: constexpr,  # noqa: N803  # HD padded
    PAGE: constexpr,  # noqa: N803
    SPLITS: constexpr,  # noqa: N803
) -> None:
    b = tl.program_id(0)
    head = tl.program_id(1)
    split = tl.program_id(2)
    row = tl.load(rows + b)
    position = tl.load(positions + b)
    begin = tl.maximum(position + 1 - window, 0)  # of what any query sees
    end = position + Q
    per_split = tl.cdiv(tl.cdiv(end, PAGE) - begin // PAGE, SPLITS)
    first = begin // PAGE + split * per_split
    last = tl.minimum(first + per_split, tl.cdiv(end, PAGE))

    member = tl.arange(0, PADDED)
    dim = tl.arange(0, WIDTH)
    token = tl.arange(0, PAGE)
    own = position + member // G  # a member is one head of one query
    of_query = (((b * Q + member // G) * KV + head) * G + member % G)[:, None] * HD + dim[None, :]
    real = (dim < HD)[None, :]
    query = tl.load(q + of_query, mask=(member[:, None] < Q * G) & real, other=0.0)  # [PADDED, WIDTH]
    peak = tl.full([PADDED], float("-inf"), tl.float32)
    total = tl.zeros([PADDED], tl.float32)
    sums = tl.zeros([PADDED, WIDTH], tl.float32)
    for number in range(first, last):
        page = tl.load(tables + row * columns + number % columns)
        at = number * PAGE + token
        of_token = ((page * PAGE + token) * KV + head)[:, None] * HD + dim[None, :]
        written = (at >= begin) & (at < end)
        visible = (at[None, :] <= own[:, None]) & (own[:, None] - at[None, :] < window)  # [PADDED, PAGE]
        k = tl.load(keys + of_token, mask=real, other=0.0)  # [PAGE, WIDTH]
        v = tl.load(values + of_token, mask=written[:, None] & real, other=0.0)  # a failed stream may have left a NaN
        scores = tl.dot(query, tl.trans(k), input_precision="ieee") * scale  # [PADDED, PAGE]
        scores = tl.where(visible & written[None, :], scores, float("-inf"))
        higher = tl.maximum(peak, tl.max(scores, axis=1))
        shift = tl.where(higher == float("-inf"), 0.0, higher)  # a query may see nothing of its neighbor's page
        weights = tl.exp(scores - shift[:, None])
        fade = tl.exp(peak - shift)
        total = total * fade + tl.sum(weights, axis=1)
        sums = sums * fade[:, None] + tl.dot(weights.to(v.dtype), v, input_precision="ieee")
        peak = higher

    part = ((b * KV + head) * SPLITS + split) * PADDED + member
    tl.store(peaks + part, peak)
    tl.store(totals + part, total)
    tl.store(mixed + part[:, None] * WIDTH + dim[None, :], sums)


@triton.jit
def _join_parts(
    peaks: "Any",
    totals: "Any",
    mixed: "Any",
    out: "Any",  # [B, Q, KV G, HD]
    Q: constexpr,  # noqa: N803
    KV: constexpr,  # noqa: N803
    G: constexpr,  # noqa: N803
    PADDED: constexpr,  # noqa: N803
    HD: constexpr,  # noqa: N803
    WIDTH: constexpr,  # noqa: N803
    SPLITS: constexpr,  # noqa: N803
) -> None:
    group = tl.program_id(0)  # b * KV + head
    member = tl.program_id(1)
    dim = tl.arange(0, WIDTH)
    part = (group * SPLITS + tl.arange(0, SPLITS)) * PADDED + member
    peak = tl.load(peaks + part)  # [SPLITS]
    weight = tl.exp(peak - tl.max(peak, axis=0))  # 0 for a split of which nothing is seen
    total = tl.sum(tl.load(totals + part) * weight, axis=0)
    sums = tl.load(mixed + part[:, None] * WIDTH + dim[None, :])  # [SPLITS, WIDTH]
    joined = tl.sum(sums * weight[:, None], axis=0) / total
    of_query = (((group // KV) * Q + member // G) * KV + group % KV) * G + member % G
    tl.store(out + of_query * HD + dim, joined.to(out.dtype.element_ty), mask=dim < HD)


def splits_for(batch: int, kv_heads: int) -> int:
    """Parts of each row's pages, a power of two: enough to keep the device busy, one where the batch does."""
    wanted = max(1, PROGRAMS // (batch * kv_heads))
    return min(MOST_SPLITS, 1 << (wanted.bit_length() - 1))


def attend_paged(cache: PagedCache, rows: Tensor, positions: Tensor, queries: int = 1) -> AttentionFn:
    """Attention of the newest tokens of each row over its real length.

    No shape depends on a length: fit for a CUDA graph.

    Args:
        cache: holds the keys and values, also those of the queries' own positions. Its page_tokens must be a
            power of two, at least 16.
        rows, positions: [B] int64, on the cache's device; a row's first query is at that position.
        queries: of each row, at consecutive positions; they stand together in the batch.
    """
    _, page_tokens, kv_heads, head_dim = cache.keys.shape[1:]
    width = max(TENSOR_CORE_SIZE, triton.next_power_of_2(head_dim))
    window = torch.iinfo(torch.int64).max if cache.window is None else cache.window

    def attend(q: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        batch, heads = len(q) // queries, q.shape[1]
        group = heads // kv_heads
        padded = max(TENSOR_CORE_SIZE, triton.next_power_of_2(queries * group))
        splits = splits_for(batch, kv_heads)
        q = q.contiguous()
        peaks = torch.empty((batch, kv_heads, splits, padded), device=q.device, dtype=torch.float32)
        totals = torch.empty_like(peaks)
        mixed = torch.empty((*peaks.shape, width), device=q.device, dtype=torch.float32)
        out = torch.empty_like(q)
        _attend_part[(batch, kv_heads, splits)](
            q, keys, values, cache.tables, rows, positions, peaks, totals, mixed,
            head_dim**-0.5, cache.columns, window,
            Q=queries, KV=kv_heads, G=group, PADDED=padded, HD=head_dim, WIDTH=width, PAGE=page_tokens, SPLITS=splits,
        )  # fmt: skip
        _join_parts[(batch * kv_heads, queries * group)](
            peaks, totals, mixed, out,
            Q=queries, KV=kv_heads, G=group, PADDED=padded, HD=head_dim, WIDTH=width, SPLITS=splits,
        )  # fmt: skip
        return out

    return attend
