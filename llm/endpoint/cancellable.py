"""Waiting for a server in a way that a plain function can end: `cancel()` of utterances and replies is not async."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


class Abandoned(Exception):
    """What was waited for is no longer wanted."""


class Waiting:
    """The waits of one stream, of one task at a time."""

    def __init__(self) -> None:
        self.is_cancelled = False
        self._timeout: asyncio.Timeout | None = None
        self._is_idle = asyncio.Event()
        self._is_idle.set()

    async def wait(self, awaitable: Awaitable[T], seconds: float) -> T:
        """What is awaited.

        Raises:
            Abandoned: `cancel` was called meanwhile.
            TimeoutError: it took longer than that many seconds.
        """
        self._is_idle.clear()
        try:
            async with asyncio.timeout(seconds) as self._timeout:
                return await awaitable
        except TimeoutError:
            if self.is_cancelled:
                raise Abandoned from None
            raise
        finally:
            self._timeout = None
            self._is_idle.set()

    def cancel(self) -> None:
        """End the wait in progress, if any, at the event loop's next turn. Twice is harmless."""
        self.is_cancelled = True
        if self._timeout is not None and not self._timeout.expired():
            self._timeout.reschedule(0.0)

    async def cancel_and_wait(self) -> None:
        """Cancel, and return when the wait has let go of what it waited for."""
        self.cancel()
        await self._is_idle.wait()
