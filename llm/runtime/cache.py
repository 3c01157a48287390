"""Keys and values of many streams in pages, allocated by real length; streams with one beginning share its pages.

Page 0 is idle: padding rows of a batch write there. With a window a row's table is a ring: the column of a
position is its page number modulo the table's width, so a row never holds more than the window needs.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from llm.runtime.architecture import DecoderConfig
from llm.runtime.weights.loading import check_memory

IDLE_PAGE = 0


class CacheFull(Exception):
    """Too few free pages for what was asked; the caller's rows are as they were."""


@dataclass(frozen=True, slots=True, eq=False)
class Prefix:
    """The pages of a beginning that streams can share. Belongs to the cache that made it, until `forget`."""

    tokens: int
    pages: tuple[int, ...]


class PagedCache:
    """Pages of one decoder on one device. The counts live on the host, the tables also on the device.

    Attributes:
        keys, values: [layers, pages, page_tokens, KV, hd].
        tables: page of each (row, column), [rows + 1, columns] int64; the last row is the idle row, all page 0.
    """

    def __init__(
        self,
        config: DecoderConfig,
        *,
        rows: int,
        pages: int,
        max_tokens: int,
        page_tokens: int = 32,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """Room for `pages` pages besides page 0, shared by `rows` streams of at most `max_tokens` tokens.

        With a window a stream has no end and `max_tokens` is the most tokens ever written in one call.

        Raises:
            NotEnoughMemory: they do not fit the device.
        """
        ring_tokens = max_tokens if config.window is None else config.window + max_tokens - 1
        columns = -(-ring_tokens // page_tokens)
        shape = (config.n_layers, pages + 1, page_tokens, config.n_kv_heads, config.head_dim)
        size = 2 * math.prod(shape) * dtype.itemsize
        check_memory(size, torch.device(device), f"keys and values of {pages * page_tokens} tokens")
        self.window = config.window
        self.max_tokens = max_tokens
        self.page_tokens = page_tokens
        self.keys = torch.zeros(shape, device=device, dtype=dtype)
        self.values = torch.zeros(shape, device=device, dtype=dtype)
        self.tables = torch.zeros((rows + 1, columns), device=device, dtype=torch.int64)
        self._free = list(range(pages, IDLE_PAGE, -1))
        self._uses: Counter[int] = Counter()
        self._held: list[list[int]] = [[] for _ in range(rows)]
        self._open = [False] * rows

    @property
    def rows(self) -> int:
        """Streams that fit; also the index of the idle row."""
        return len(self._held)

    @property
    def columns(self) -> int:
        """Most pages that one stream holds."""
        return self.tables.shape[1]

    @property
    def free_pages(self) -> int:
        """Pages that no row and no prefix holds."""
        return len(self._free)

    def holders(self, page: int) -> int:
        """How many rows and prefixes hold that page."""
        return self._uses[page]

    def pages_for(self, tokens: int, prefix: Prefix | None = None) -> int:
        """Pages that a stream of that many tokens takes from the free ones."""
        shared = 0 if prefix is None or self.window is not None else prefix.tokens // self.page_tokens
        return min(-(-tokens // self.page_tokens), self.columns) - shared

    def slot_mapping(self, rows: Tensor, positions: Tensor) -> Tensor:
        """Index of each position of its row into the tokens of all pages, [N] int64 for [N] and [N] int64."""
        columns = positions // self.page_tokens % self.columns
        return self.tables[rows, columns] * self.page_tokens + positions % self.page_tokens

    def open(self, row: int, prefix: Prefix | None = None) -> int:
        """Begin a stream in that row; it starts with the tokens of the prefix, whose number is returned.

        Raises:
            CacheFull: no page for the copy of the prefix's last, partly filled page.
        """
        assert not self._open[row], f"row {row} is in use"
        tokens = 0
        pages: list[int] = []
        if prefix is not None:
            assert self.window is None or prefix.tokens <= self.columns * self.page_tokens
            tokens = prefix.tokens
            pages = list(self._share(prefix.pages, tokens))
        self._open[row] = True
        self._hold(row, pages)
        return tokens

    def grow(self, row: int, tokens: int) -> None:
        """See to it that the row can hold that many tokens in all.

        Raises:
            CacheFull: too few free pages, or more tokens than a row may hold; the row keeps what it has.
        """
        assert self._open[row], f"row {row} is closed"
        if self.window is None and tokens > self.max_tokens:
            raise CacheFull(f"{tokens} tokens wanted, a stream may hold {self.max_tokens}")
        held = self._held[row]
        wanted = min(-(-tokens // self.page_tokens), self.columns)
        if wanted > len(held):
            self._hold(row, self._take(wanted - len(held)))

    def shrink(self, row: int, tokens: int) -> None:
        """Keep only the first so many tokens; pages behind them become free. Not for a ring that has gone round.

        Raises:
            CacheFull: the last page left is shared and partly kept, and there is no page for the row's own copy.
        """
        held = self._held[row]
        full, ragged = divmod(tokens, self.page_tokens)
        keep = full + bool(ragged)
        assert keep <= len(held)
        self._let_go(held[keep:])
        del held[keep:]
        self.tables[row, keep:] = IDLE_PAGE
        if ragged and self._uses[held[full]] > 1:
            own = self._copy(held[full])
            self._let_go(held[full:])
            del held[full:]
            self._hold(row, [own])

    def close(self, row: int) -> None:
        """End the stream: its pages are free at once, save those that others share. Twice is harmless."""
        self._let_go(self._held[row])
        self._held[row].clear()
        self._open[row] = False
        self.tables[row] = IDLE_PAGE

    def remember(self, row: int, tokens: int) -> Prefix:
        """Keep the row's first so many tokens, so that other rows can begin with them.

        Raises:
            CacheFull: no page for the copy of the last, partly filled page.
        """
        held = self._held[row]
        assert tokens <= len(held) * self.page_tokens
        return Prefix(tokens, self._share(held, tokens))

    def forget(self, prefix: Prefix) -> None:
        """Drop a prefix; rows that began with it keep its pages until they are closed."""
        self._let_go(prefix.pages)

    def _share(self, pages: Sequence[int], tokens: int) -> tuple[int, ...]:
        """Full pages are shared and the partly filled last one is copied, since each holder writes its own ending.

        A ring comes round to its first pages and writes over them: it gets copies of all.
        """
        full, ragged = divmod(tokens, self.page_tokens)
        shared = full if self.window is None else 0
        copied = pages[shared : full + bool(ragged)]
        if len(copied) > len(self._free):
            raise CacheFull(f"{len(copied)} pages wanted, {len(self._free)} are free")
        self._uses.update(pages[:shared])
        return (*pages[:shared], *map(self._copy, copied))

    def _copy(self, page: int) -> int:
        (copy,) = self._take(1)
        self.keys[:, copy] = self.keys[:, page]
        self.values[:, copy] = self.values[:, page]
        return copy

    def _hold(self, row: int, pages: Sequence[int]) -> None:
        held = self._held[row]
        for page in pages:
            self.tables[row, len(held)].fill_(page)  # `= page` would copy from the host and wait for the device
            held.append(page)

    def _take(self, count: int) -> list[int]:
        if count > len(self._free):
            raise CacheFull(f"{count} pages wanted, {len(self._free)} are free")
        taken = [self._free.pop() for _ in range(count)]
        self._uses.update(taken)
        return taken

    def _let_go(self, pages: Sequence[int]) -> None:
        for page in reversed(pages):  # they are taken again from the end: pages side by side stay so
            self._uses[page] -= 1
            if self._uses[page] == 0:
                del self._uses[page]
                self._free.append(page)
