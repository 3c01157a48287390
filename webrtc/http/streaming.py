"""Answers that are sent piece by piece, no faster than the client takes them: their producer waits for it."""

import asyncio
import socket
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager

from aiohttp import web

from webrtc.http.errors import ClientGone

# Kept for a client between us and its own buffers; Linux doubles the second. Left to themselves systems keep some
# megabytes, all of which would be made for a client that has stopped reading.
_BUFFERED_BYTES = 16_384
_SOCKET_BYTES = 24_576


class StreamedResponse:
    """One answer; the status and headers go before the first piece."""

    def __init__(self, request: web.Request, content_type: str, write_timeout_s: float) -> None:
        self._request = request
        self._write_timeout_s = write_timeout_s
        # X-Accel-Buffering: proxies like nginx would otherwise keep the first pieces back.
        headers: Mapping[str, str] = {"Content-Type": content_type, "X-Accel-Buffering": "no"}
        self._response = web.StreamResponse(headers=headers)
        self._response.enable_chunked_encoding()

    async def send(self, piece: bytes) -> None:
        """Send one piece.

        Raises:
            ConnectionError: the client is gone, or took nothing for too long.
        """
        async with self._limit():
            if not self._response.prepared:
                _keep_little(self._request)
                await self._response.prepare(self._request)
            await self._response.write(piece)

    async def end(self) -> web.StreamResponse:
        """The whole answer was sent.

        Raises:
            ConnectionError: as of `send`.
        """
        async with self._limit():
            await self._response.write_eof()
        return self._response

    def break_off(self) -> web.StreamResponse:
        """End the connection in the middle: how a client of raw bytes learns that the rest is missing."""
        if self._request.transport is not None:
            self._request.transport.abort()
        return self._response

    @asynccontextmanager
    async def _limit(self) -> AsyncGenerator[None, None]:
        try:
            async with asyncio.timeout(self._write_timeout_s):
                yield
        except TimeoutError:
            self.break_off()
            raise ClientGone(f"the client took nothing for {self._write_timeout_s:g} s") from None


def _keep_little(request: web.Request) -> None:
    """Bound what waits between us and the client."""
    transport = request.transport
    if transport is None:
        raise ClientGone("the client left before its answer")
    transport.set_write_buffer_limits(high=_BUFFERED_BYTES)
    found: socket.socket = transport.get_extra_info("socket")
    found.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BYTES)
