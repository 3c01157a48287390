"""How every server of ours listens."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from ipaddress import ip_address

from aiohttp import web

from webrtc.http.errors import CannotListen

_SHUTDOWN_TIMEOUT_S = 2.0


@asynccontextmanager
async def serve_http(
    app: web.Application, host: str, port: int, *, cancels_with_client: bool = False
) -> AsyncGenerator[str, None]:
    """The application, served; yields its URL.

    Args:
        app: its routes.
        host: address to listen on.
        port: TCP port; 0 picks a free one.
        cancels_with_client: a handler is cancelled as soon as its client closes the connection.

    Raises:
        CannotListen: the host and port cannot be listened on.
    """
    runner = web.AppRunner(
        app, access_log=None, handler_cancellation=cancels_with_client, shutdown_timeout=_SHUTDOWN_TIMEOUT_S
    )
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise CannotListen(f"cannot listen on {host}, port {port} ({error.strerror or error})") from None
        yield url_of(host, runner.addresses[0][1])
    finally:
        await runner.cleanup()


def url_of(host: str, port: int) -> str:
    """Where a browser on this machine finds what listens on that host and port."""
    try:
        address = ip_address(host)
    except ValueError:
        return f"http://{host}:{port}"
    if address.is_unspecified:
        return f"http://localhost:{port}"
    return f"http://[{host}]:{port}" if address.version == 6 else f"http://{host}:{port}"


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens on that host."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
