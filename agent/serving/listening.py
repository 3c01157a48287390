"""How every server of ours listens, and how it is told to stop."""

import asyncio
import signal
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from ipaddress import ip_address

from aiohttp import web

from agent.errors import AddressUnavailable


@asynccontextmanager
async def listening(
    app: web.Application, host: str, port: int, *, cancels_with_client: bool = False
) -> AsyncGenerator[str, None]:
    """The application, served; yields its URL.

    Args:
        app: its routes.
        host: address to listen on.
        port: TCP port; 0 picks a free one.
        cancels_with_client: a handler is cancelled as soon as its client closes the connection.

    Raises:
        AddressUnavailable: the host and port cannot be listened on.
    """
    runner = web.AppRunner(app, access_log=None, handler_cancellation=cancels_with_client, shutdown_timeout=2.0)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise AddressUnavailable(
                f"cannot listen on {host}, port {port} ({error.strerror or error}); "
                "stop what uses it, or choose another with --host and --port (0 picks a free port)"
            ) from None
        yield url_of(host, runner.addresses[0][1])
    finally:
        await runner.cleanup()


def url_of(host: str, port: int) -> str:
    """Where a browser on this machine finds the page."""
    try:
        address = ip_address(host)
    except ValueError:
        return f"http://{host}:{port}"
    if address.is_unspecified:
        return f"http://localhost:{port}"
    return f"http://[{host}]:{port}" if address.version == 6 else f"http://{host}:{port}"


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
