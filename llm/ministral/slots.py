"""The state of all replies being written, one slot each: its ids, cache pages, next token and RNG state.

A slot's newest id is not yet in the cache: the next step runs it and draws the one behind it. So the prompt is read
up to its last id, and the first token of the reply is drawn by a step like all others. Slot number `count` is idle:
padding rows of a batch point at it.
"""

from collections.abc import Sequence

import torch

from llm.ministral.model import Ministral, without_window
from llm.ministral.prefix_cache import PrefixTree
from llm.runtime.attention import Segment
from llm.runtime.backend import AttentionBackend, default_backend
from llm.runtime.cache import CacheFull, PagedCache

PAGE_TOKENS = 32
DRAWN = 64  # random numbers drawn at once


class ReplySlots:
    """Static state for `count` replies on the model's device.

    Attributes:
        tokens: [count + 1] int64, the id that each slot's next step runs.
        positions: [count + 1] int64, its position.
        temperatures, top_ps: [count + 1] float32, how the slot's tokens are drawn; see `llm.ministral.sampling`.
        uniforms: [count + 1, DRAWN] float32 in [0, 1), for the token behind position p the column p % DRAWN.
        prefixes: what the cache remembers of conversations.
    """

    def __init__(
        self,
        model: Ministral,
        *,
        count: int,
        cache_tokens: int,
        max_tokens: int,
        page_tokens: int = PAGE_TOKENS,
        attention_backend: AttentionBackend | None = None,
    ) -> None:
        """State of so many slots.

        Args:
            model: what writes.
            count: most replies at once.
            cache_tokens: room of the cache, for the slots and for what is remembered.
            max_tokens: most tokens of one slot, prompt and reply.
            page_tokens: a power of two, at least 16 on CUDA.
            attention_backend: how a step reads the cache; by default as suits the device.

        Raises:
            CheckpointError: the model has a sliding window that is shorter.
        """
        self.model = model
        self.count = count
        self.device = model.device
        self.attention_backend: AttentionBackend = attention_backend or default_backend(self.device)
        self.cache = PagedCache(
            without_window(model.config, max_tokens),
            rows=count,
            pages=-(-cache_tokens // page_tokens),
            max_tokens=max_tokens,
            page_tokens=page_tokens,
            device=self.device,
            dtype=model.dtype,
        )
        self.prefixes = PrefixTree(self.cache)
        self.tokens = torch.zeros(count + 1, dtype=torch.int64, device=self.device)
        self.positions = torch.zeros_like(self.tokens)
        self.temperatures = torch.zeros(count + 1, device=self.device)
        self.top_ps = torch.ones_like(self.temperatures)
        self.uniforms = torch.zeros((count + 1, DRAWN), device=self.device)
        self._ids: list[list[int]] = [[] for _ in range(count)]
        self._cached = [0] * count  # how many of them are in the cache
        self._generators = [torch.Generator() for _ in range(count)]

    @property
    def free_pages(self) -> int:
        """Pages that a new slot can have: free ones, and remembered ones that are not in use."""
        return self.cache.free_pages + self.prefixes.idle_pages

    def pages_needed(self, slot: int, tokens: int) -> int:
        """Pages that the slot will still take if it grows to so many tokens in all."""
        return self.cache.pages_for(tokens) - self.cache.pages_for(len(self._ids[slot]))

    def prompt_remaining(self, slot: int) -> int:
        """Ids of the slot's prompt that are to be read before its next step."""
        return len(self._ids[slot]) - 1 - self._cached[slot]

    @torch.inference_mode()
    def open(self, slot: int, ids: Sequence[int], seed: int, temperature: float = 0.0, top_p: float = 1.0) -> int:
        """Begin a reply to these ids in a free slot; how many of them are in the cache already.

        Raises:
            CacheFull: no room for them; the slot is free.
        """
        self.prefixes.make_room(1)  # for the copy of a page that is shared in part
        known = self.prefixes.find(ids[:-1])
        self._cached[slot] = self.cache.open(slot, known)
        self._ids[slot] = list(ids)
        try:
            self.prefixes.make_room(self.cache.pages_for(len(ids), known))
            self.cache.grow(slot, len(ids))
        except CacheFull:
            self.cache.close(slot)
            raise
        self.temperatures[slot].fill_(temperature)  # `= number` would copy it from the host, and wait
        self.top_ps[slot].fill_(top_p)
        self._generators[slot].manual_seed(seed)
        self._draw(slot)
        self._make_ready(slot)
        return self._cached[slot]

    @torch.inference_mode()
    def prefill(self, parts: Sequence[tuple[int, int]]) -> None:
        """Run the next so many ids of these slots' prompts, all together."""
        segments = [Segment(slot, self._cached[slot], tokens) for slot, tokens in parts]
        ids = [self._ids[part.row][part.start : part.start + part.tokens] for part in segments]
        packed = torch.tensor([index for part in ids for index in part], device=self.device)
        decoder = self.model.decoder
        decoder.prefill(decoder.embed(packed), segments, self.cache)
        for slot, tokens in parts:
            self._cached[slot] += tokens
            self._make_ready(slot)
            whole = self._cached[slot] // self.cache.page_tokens * self.cache.page_tokens
            self.prefixes.keep(slot, self._ids[slot][:whole])  # for requests that come meanwhile

    def reserve(self, slot: int) -> None:
        """See to it that the slot's next step has a place in the cache.

        Raises:
            CacheFull: no page is free or the slot is as long as one may be; its state is as it was.
        """
        tokens = len(self._ids[slot])
        if tokens % self.cache.page_tokens == 1 or self.cache.page_tokens == 1:
            self.prefixes.make_room(1)
        self.cache.grow(slot, tokens)

    def add(self, slot: int, token: int) -> None:
        """Note on the host that a step of the slot drew this token; on the device the step has done so."""
        self._cached[slot] += 1
        self._ids[slot].append(token)
        if self._cached[slot] % DRAWN == 0:
            self._draw(slot)

    def free(self, slot: int, *, is_finite: bool = True) -> None:
        """End the slot's reply. What it has in the cache is remembered if it is finite. Twice is harmless."""
        if is_finite:
            self.prefixes.keep(slot, self._ids[slot][: self._cached[slot]])
        self.cache.close(slot)
        self._ids[slot], self._cached[slot] = [], 0

    def _make_ready(self, slot: int) -> None:
        """Show the device the slot's last id once all before it are in the cache."""
        if self.prompt_remaining(slot) == 0:
            self.tokens[slot].fill_(self._ids[slot][-1])
            self.positions[slot].fill_(self._cached[slot])

    def _draw(self, slot: int) -> None:
        """The slot's next random numbers, from its own generator."""
        numbers = torch.rand(DRAWN, generator=self._generators[slot], pin_memory=self.device.type == "cuda")
        self.uniforms[slot].copy_(numbers, non_blocking=True)
