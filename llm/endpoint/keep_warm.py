"""A connection that is open before it is needed: handshakes are paid between the turns of a call, not in them."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from types import TracebackType
from typing import Self

from llm.endpoint.errors import EndpointError

_log = logging.getLogger(__name__)


class KeepWarm:
    """Asks for something small, now and then and when a connection was lost. Use as `async with`.

    Args:
        ask: the small request; it may raise EndpointError.
        every_s: longest time between two.
    """

    def __init__(self, ask: Callable[[], Awaitable[None]], every_s: float) -> None:
        self._ask = ask
        self._every_s = every_s
        self._is_cold = asyncio.Event()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            tasks = await stack.enter_async_context(asyncio.TaskGroup())
            stack.callback(tasks.create_task(self._run(), name="keep warm").cancel)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    def closed_one(self) -> None:
        """A connection was closed, to cancel what it carried: open another."""
        self._is_cold.set()

    async def _run(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._every_s):
                    await self._is_cold.wait()
            self._is_cold.clear()
            try:
                await self._ask()
            except EndpointError as error:
                _log.debug("no connection is kept warm: %s", error)
