"""A bounded mailbox between one writer that never waits and one reader that does."""

import asyncio
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Mailbox(Generic[T]):
    """Keeps the newest `capacity` items; the oldest are dropped and counted when the reader stalls."""

    def __init__(self, capacity: int) -> None:
        self.dropped = 0
        self._items: deque[T] = deque(maxlen=capacity)
        self._changed = asyncio.Event()
        self._is_closed = False

    def put(self, item: T) -> None:
        """Add an item at once; after `close` it is ignored."""
        if self._is_closed:
            return
        if len(self._items) == self._items.maxlen:
            self.dropped += 1
        self._items.append(item)
        self._changed.set()

    def close(self) -> None:
        """Let the reader take what is left and then end. Twice is harmless."""
        self._is_closed = True
        self._changed.set()

    def __aiter__(self) -> "Mailbox[T]":
        return self

    async def __anext__(self) -> T:
        while not self._items:
            if self._is_closed:
                raise StopAsyncIteration
            self._changed.clear()
            await self._changed.wait()
        return self._items.popleft()
