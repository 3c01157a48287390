"""Threads for tools that block. Daemons: one that never returns costs a thread, neither the event loop nor the exit.

asyncio's own pool is smaller, is needed by others (name resolution, Smart Turn), and is waited for at the exit.
"""

import asyncio
import contextvars
import threading
from collections.abc import Callable

MAX_THREADS = 64  # running at once, those that were given up included


class TooManyThreads(Exception):
    """Every thread is taken, by tools that do not return."""


class ToolThreads:
    """Runs functions in threads of their own, a limited number at once."""

    def __init__(self, limit: int = MAX_THREADS) -> None:
        self._free = limit

    async def run(self, function: Callable[[], object]) -> object:
        """What the function returns or raises; if this is cancelled the function runs on, and its result is dropped.

        Raises:
            TooManyThreads: at once.
        """
        if not self._free:
            raise TooManyThreads
        loop = asyncio.get_running_loop()
        result: asyncio.Future[object] = loop.create_future()
        context = contextvars.copy_context()

        def settle(value: object, error: BaseException | None) -> None:
            self._free += 1
            if result.cancelled():
                return
            if error:
                result.set_exception(error)
            else:
                result.set_result(value)

        def work() -> None:
            value, failure = None, None
            try:
                value = context.run(function)
            except StopIteration as error:  # no future takes one
                failure = RuntimeError(f"a StopIteration ({error})")
            except BaseException as error:  # handed on to the waiting caller
                failure = error
            try:
                loop.call_soon_threadsafe(settle, value, failure)
            except RuntimeError:
                return  # the loop is closed: nothing waits for the result

        self._free -= 1
        threading.Thread(target=work, name="tool", daemon=True).start()
        return await result
