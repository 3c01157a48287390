"""From the step loop's thread to asyncio: a bounded outlet for each stream, one wake-up of the event loop each step."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

_log = logging.getLogger(__name__)

T = TypeVar("T")


class Outlet(Generic[T]):
    """Where one stream's items wait for their consumer.

    The bound is kept by its producer, which looks for room before it makes an item. `sent` belongs to the producer's
    thread, all the rest to the event loop's.
    """

    def __init__(self, capacity: int, on_taken: Callable[[], None]) -> None:
        self._capacity = capacity
        self._on_taken = on_taken
        self._items: deque[T] = deque()
        self._error: Exception | None = None
        self._is_admitted = False
        self._is_finished = False
        self._is_paused = False
        self._changed = asyncio.Event()
        self.sent = 0
        self.taken = 0

    @property
    def has_room(self) -> bool:
        """Whether the producer may make another item: fewer than `capacity` wait."""
        return self.sent - self.taken < self._capacity

    async def wait_until_admitted(self, stall_s: float) -> None:
        """Wait until the producer works on the stream, or for nothing if the outlet is closed.

        Raises:
            TimeoutError: there was no answer for `stall_s`.
            Exception: why the producer refused.
        """
        async with asyncio.timeout(stall_s):
            while not (self._is_admitted or self._is_finished):
                self._changed.clear()
                await self._changed.wait()
        if self._error is not None and not self._is_admitted:
            raise self._error

    async def take(self, stall_s: float) -> T:
        """The next item.

        Raises:
            StopAsyncIteration: the producer finished, or the outlet is closed.
            TimeoutError: nothing came for `stall_s`, in which it was not paused.
            Exception: the producer's error, after the items before it.
        """
        while not self._items or self._is_paused:
            if self._is_finished and not self._items:
                if self._error is not None:
                    raise self._error
                raise StopAsyncIteration
            self._changed.clear()
            async with asyncio.timeout(None if self._is_paused else stall_s):
                await self._changed.wait()
        item = self._items.popleft()
        self.taken += 1
        self._on_taken()
        return item

    def pause(self) -> None:
        """Deliver nothing until `unpause`."""
        self._is_paused = True
        self._changed.set()  # who waits for an item now waits without a limit

    def unpause(self) -> None:
        """Deliver again."""
        self._is_paused = False
        self._changed.set()

    def close(self) -> None:
        """Drop what waits and what is still to come."""
        self._items.clear()
        self._error = None
        self._is_finished = True
        self._changed.set()

    def admit(self) -> None:
        """The producer works on the stream from now on."""
        self._is_admitted = True
        self._changed.set()

    def deliver(self, item: T) -> None:
        """Give an item to the consumer, unless the outlet is closed."""
        if not self._is_finished:
            self._items.append(item)
            self._changed.set()

    def finish(self, error: Exception | None) -> None:
        """No further item comes, because of `error` if that is given. Only the first call counts."""
        if not self._is_finished:
            self._is_finished = True
            self._error = error
            self._changed.set()


class EventLoop(Protocol):
    """What of an asyncio event loop another thread may use."""

    def call_soon_threadsafe(self, callback: Callable[..., object], *arguments: Any) -> object:
        """Make the call on the loop's thread. Raises RuntimeError if the loop is closed."""
        ...


class Outlets:
    """Calls collected during a step and made on the event loop together: a thread wakes a loop only once a step."""

    def __init__(self, loop: EventLoop) -> None:
        self._loop = loop
        self._calls: list[Callable[[], None]] = []

    def answer(self, outlet: Outlet[T], refusal: Exception | None = None) -> None:
        """Admit the outlet's stream at the next flush, or refuse it."""
        self._calls.append(outlet.admit if refusal is None else lambda: outlet.finish(refusal))

    def send(self, outlet: Outlet[T], item: T) -> None:
        """Deliver the item at the next flush."""
        outlet.sent += 1
        self._calls.append(lambda: outlet.deliver(item))

    def finish(self, outlet: Outlet[T], error: Exception | None = None) -> None:
        """Finish the outlet at the next flush."""
        self._calls.append(lambda: outlet.finish(error))

    def flush(self) -> None:
        """Make the calls, in order."""
        if not self._calls:
            return
        calls, self._calls = self._calls, []
        try:
            self._loop.call_soon_threadsafe(_make, calls)
        except RuntimeError:  # the event loop is closed: there is no listener left
            _log.debug("dropped %d calls for a closed event loop", len(calls))


def _make(calls: list[Callable[[], None]]) -> None:
    for call in calls:
        call()
