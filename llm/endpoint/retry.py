"""Trying again, within the patience of a call."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from llm.endpoint.errors import EndpointError

T = TypeVar("T")

_FIRST_PAUSE_S = 0.05
_GROWTH = 2.0


async def retry(attempt: Callable[[], Awaitable[T]], limit_s: float) -> T:
    """What the attempt returns, as soon as it does; tried again for up to `limit_s` where that may help.

    The server's own wish (Retry-After) is followed if there is time for it; else waits double, a random part less, so
    that the calls of a server that comes back do not all come back together.

    Raises:
        EndpointError: of the last attempt.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + limit_s
    pause_s = _FIRST_PAUSE_S
    while True:
        try:
            return await attempt()
        except EndpointError as error:
            if error.retry_after_s is None:
                raise
            wait_s = error.retry_after_s or pause_s * random.uniform(0.5, 1.0)
            if loop.time() + wait_s > deadline:
                raise
        await asyncio.sleep(wait_s)
        pause_s *= _GROWTH
