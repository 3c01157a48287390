"""Rotation of queries and keys and writing of keys and values to the cache in one Triton kernel, for decoding on CUDA.

A step of one token is bound by the number of kernels: this one takes the slot of eight. `write_kv` in
`attention.py` is the twin. Imported on machines with CUDA only. Triton reads the kernel's annotations: it must see
`constexpr` under this name and must not see `Any`.
"""

from typing import TYPE_CHECKING, Any, cast

import torch
import triton as _triton  # pyright: ignore[reportMissingImports, reportMissingTypeStubs]  # comes with the CUDA builds of torch
import triton.language as _language  # pyright: ignore[reportMissingImports, reportMissingTypeStubs]
from torch import Tensor

from llm.runtime.attention import WriteKV

triton = cast("Any", _triton)
tl = cast("Any", _language)

if TYPE_CHECKING:
    constexpr = int  # what a kernel's compile-time arguments are to its caller
else:
    constexpr = tl.constexpr


@triton.jit
def _rotate_and_write(
    q: "Any",  # [N, H, HD], rows `q_row` apart
    k: "Any",  # [N, KV, HD], rows `kv_row` apart
    v: "Any",  # like k
    rotary: "Any",  # [N, HD / 2, 2] float32: cosine, sine
    query_rotary: "Any",  # like rotary
    slot_mapping: "Any",  # [N]
    out: "Any",  # [N, H, HD]
    keys: "Any",  # [tokens of all pages, KV, HD]
    values: "Any",  # like keys
    q_row: "Any",
    kv_row: "Any",
    H: constexpr,  # noqa: N803
    KV: constexpr,  # noqa: N803
    HD: constexpr,  # noqa: N803
    WIDTH: constexpr,  # noqa: N803  # HD padded to a power of two
) -> None:
    n = tl.program_id(0).to(tl.int64)
    head = tl.program_id(1)  # the queries before the keys before the values
    pair = tl.arange(0, WIDTH // 2)
    real = pair < HD // 2
    slot = tl.load(slot_mapping + n)
    if head < H:
        cos = tl.load(query_rotary + (n * (HD // 2) + pair) * 2, mask=real)
        sin = tl.load(query_rotary + (n * (HD // 2) + pair) * 2 + 1, mask=real)
        even = tl.load(q + n * q_row + head * HD + 2 * pair, mask=real).to(tl.float32)
        odd = tl.load(q + n * q_row + head * HD + 2 * pair + 1, mask=real).to(tl.float32)
        to = out + (n * H + head) * HD + 2 * pair
        tl.store(to, (even * cos - odd * sin).to(out.dtype.element_ty), mask=real)
        tl.store(to + 1, (even * sin + odd * cos).to(out.dtype.element_ty), mask=real)
    elif head < H + KV:
        cos = tl.load(rotary + (n * (HD // 2) + pair) * 2, mask=real)
        sin = tl.load(rotary + (n * (HD // 2) + pair) * 2 + 1, mask=real)
        even = tl.load(k + n * kv_row + (head - H) * HD + 2 * pair, mask=real).to(tl.float32)
        odd = tl.load(k + n * kv_row + (head - H) * HD + 2 * pair + 1, mask=real).to(tl.float32)
        to = keys + (slot * KV + head - H) * HD + 2 * pair
        tl.store(to, (even * cos - odd * sin).to(keys.dtype.element_ty), mask=real)
        tl.store(to + 1, (even * sin + odd * cos).to(keys.dtype.element_ty), mask=real)
    else:
        dim = tl.arange(0, WIDTH)
        value = tl.load(v + n * kv_row + (head - H - KV) * HD + dim, mask=dim < HD)
        tl.store(values + (slot * KV + head - H - KV) * HD + dim, value.to(values.dtype.element_ty), mask=dim < HD)


def write_kv_fused(rotary: Tensor, query_rotary: Tensor, slot_mapping: Tensor) -> WriteKV:
    """As `llm.runtime.attention.write_kv`. No host synchronization."""
    parts, query_parts = torch.view_as_real(rotary).contiguous(), torch.view_as_real(query_rotary).contiguous()

    def write(q: Tensor, k: Tensor, v: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        count, heads, head_dim = q.shape
        kv_heads = k.shape[1]
        assert q.stride()[1:] == k.stride()[1:] == v.stride()[1:] == (head_dim, 1)
        assert k.stride(0) == v.stride(0)
        out = torch.empty(q.shape, device=q.device, dtype=q.dtype)
        _rotate_and_write[(count, heads + 2 * kv_heads)](
            q, k, v, parts, query_parts, slot_mapping, out, keys, values, q.stride(0), k.stride(0),
            H=heads, KV=kv_heads, HD=head_dim, WIDTH=triton.next_power_of_2(head_dim), num_warps=1,
        )  # fmt: skip
        return out

    return write
