"""The life of a server process: listening, ready, stopped by a signal, drained."""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager

from aiohttp import web

from agent.errors import AddressUnavailable
from webrtc.http.errors import CannotListen
from webrtc.http.server import serve_http


async def serve_until_stopped(
    app: web.Application,
    host: str,
    port: int,
    *,
    on_ready: Callable[[str], None],
    drain: Callable[[], Awaitable[None]],
    end_now: Callable[[], None],
    cancels_with_client: bool = False,
) -> None:
    """Serve until SIGTERM or SIGINT, then drain; a second signal ends what is in progress at once.

    Args:
        app: its routes.
        host: address to listen on.
        port: TCP port; 0 picks a free one.
        on_ready: is given the server's URL once it listens.
        drain: takes nothing new and lets finish what is in progress.
        end_now: ends that, and so the drain.
        cancels_with_client: see `serve_http`.

    Raises:
        AddressUnavailable: the host and port cannot be listened on.
    """
    try:
        async with serve_http(app, host, port, cancels_with_client=cancels_with_client) as url:
            with stop_signals(end_now) as stop:
                on_ready(url)
                await stop.wait()
                await drain()
    except CannotListen as error:
        raise AddressUnavailable(
            f"{error}; stop what uses it, or choose another with --host and --port (0 picks a free port)"
        ) from None


@contextmanager
def stop_signals(on_second: Callable[[], None]) -> Generator[asyncio.Event, None, None]:
    """An event that the first SIGTERM or SIGINT sets; a further one calls `on_second`."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()

    def on_signal() -> None:
        if stop.is_set():
            on_second()
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    try:
        yield stop
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
