"""How a step reads and writes the paged cache: the way that suits the machine, for the tokens of one batch."""

import logging
from collections.abc import Iterable
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from llm.runtime.attention import AttentionFn, Segment, WriteKV, attend_gathered, attend_segments, write_kv
from llm.runtime.cache import PagedCache

_log = logging.getLogger(__name__)

AttentionBackend = Literal["segments", "gathered", "paged"]
"""How a step reads the cache: see `attention.py`. "segments" needs a CPU, "paged" needs CUDA with Triton."""


def default_backend(device: torch.device) -> AttentionBackend:
    """The fastest backend that this machine has."""
    if device.type != "cuda":
        return "segments"
    return "paged" if _can_launch_kernels() else "gathered"


def _can_launch_kernels() -> bool:
    """Whether Triton is there and has what its first launch takes: a C compiler, Python's headers, CUDA's driver."""
    if find_spec("triton") is None:
        return False
    driver = cast("Any", import_module("triton.runtime")).driver
    try:
        _ = driver.active  # made at its first use
    except Exception as error:  # whatever a compiler or a linker says
        _log.warning("Triton cannot work here, so steps are slow; it needs gcc and Python's headers: %s", error)
        return False
    return True


class StepTokens:
    """The tokens of one step and their place in the cache: `queries` consecutive ones of each row of the batch.

    Attributes:
        cache: keys and values before these tokens are read, their own are written.
        rows, positions: row of the cache and position in its stream of every token, [B * queries] int64.
    """

    def __init__(
        self, rows: Tensor, starts: Tensor, cache: PagedCache, backend: AttentionBackend, *, queries: int = 1
    ) -> None:
        """Unless the backend is "segments" neither this nor what it returns synchronizes with the host.

        Args:
            rows: row of the cache, [B] int64; padding rows are the cache's idle row, index `cache.rows`.
            starts: position of each row's first token, [B] int64.
            cache: its rows are grown to hold these tokens.
            backend: how it is read.
            queries: tokens of each row.
        """
        self.cache = cache
        self.rows, self.positions = rows, starts
        self._batch = rows, starts
        self._queries = queries
        self._backend: AttentionBackend = backend
        if queries > 1:
            self.rows = rows.repeat_interleave(queries)
            self.positions = (starts[:, None] + torch.arange(queries, device=starts.device)).flatten()

    def attention(self) -> AttentionFn:
        """What mixes the values that these tokens see."""
        rows, starts = self._batch
        if self._backend == "segments":
            # torch leaves the element type of tolist() open
            at = cast("list[list[int]]", torch.stack((rows, starts), 1).tolist())  # pyright: ignore[reportUnknownMemberType]
            return attend_segments(self.cache, [Segment(row, start, self._queries) for row, start in at])
        if self._backend == "gathered":
            # each token is a query of its own: its row's newer ones are in the cache already, masked by position
            span = self.cache.window or self.cache.max_tokens
            return attend_gathered(self.cache, self.rows, self.positions, span)
        from llm.runtime.kernels.paged_attention import attend_paged  # noqa: PLC0415  # Triton is there only beside CUDA

        return attend_paged(self.cache, rows, starts, self._queries)

    def write_kv(self, rotary: Tensor, query_rotary: Tensor) -> WriteKV:
        """What rotates queries and keys and writes keys and values to the cache: see `attention.write_kv`."""
        slot_mapping = self.cache.slot_mapping(self.rows, self.positions)
        if self._backend != "paged":
            return write_kv(rotary, query_rotary, slot_mapping)
        from llm.runtime.kernels.rotary import write_kv_fused  # noqa: PLC0415  # Triton is there only beside CUDA

        return write_kv_fused(rotary, query_rotary, slot_mapping)


def run_layers(
    layers: Iterable[nn.Module],
    x: Tensor,
    cache: PagedCache,
    write: WriteKV,
    attention: AttentionFn,
    ffn_scale: Tensor | None = None,
) -> Tensor:
    """Run tokens [N, D] through layers whose keys and values are those of the cache; factors [N, layers, D]."""
    for index, layer in enumerate(layers):
        keys, values = cache.keys[index], cache.values[index]

        def attend(q: Tensor, k: Tensor, v: Tensor, keys: Tensor = keys, values: Tensor = values) -> Tensor:
            return attention(write(q, k, v, keys, values), keys, values)

        x = layer(x, attend, None if ffn_scale is None else ffn_scale[:, index])
    return x
