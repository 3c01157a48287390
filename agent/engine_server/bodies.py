"""What clients send and take: JSON bodies within limits, and answers that are streamed."""

import asyncio
import json
import socket
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import TypeVar

from aiohttp import web
from pydantic import BaseModel, ValidationError

from agent.engine_server.errors import ApiError

Body = TypeVar("Body", bound=BaseModel)

# Speech of 1.4 s, of which Linux doubles the second. With what systems grant by themselves, a minute would be
# synthesised for a client that has stopped reading.
_BUFFERED_BYTES = 16_384
_SOCKET_BYTES = 24_576
_SHOWN = 60  # characters of a wrong value


async def read_body(request: web.Request, schema: type[Body], timeout_s: float) -> Body:
    """The request's JSON body.

    Raises:
        ApiError: 400, not JSON or not of the schema; 408, it did not arrive in time.
        HTTPRequestEntityTooLarge: longer than the application allows.
    """
    try:
        async with asyncio.timeout(timeout_s):
            raw = await request.read()
    except TimeoutError:
        raise ApiError(408, f"the request did not arrive within {timeout_s:g} s", code="timeout") from None
    try:
        return schema.model_validate_json(raw)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        what = first["msg"].removeprefix("Value error, ")
        if where and first["type"] != "value_error" and isinstance(first["input"], str | int | float):
            what += f", found {json.dumps(first['input'])[:_SHOWN]}"
        raise ApiError(
            400, f"{where}: {what}" if where else what, code="invalid_request", param=where or None
        ) from None


class ClientGone(ConnectionError):
    """The client takes nothing of its answer any more."""


class Streamed:
    """An answer that is sent piece by piece, as fast as the client takes it: until then the engine waits, too."""

    def __init__(self, request: web.Request, content_type: str, write_timeout_s: float) -> None:
        self._request = request
        self._write_timeout_s = write_timeout_s
        # X-Accel-Buffering: proxies like nginx would otherwise keep the first pieces back.
        headers: Mapping[str, str] = {"Content-Type": content_type, "X-Accel-Buffering": "no"}
        self._response = web.StreamResponse(headers=headers)
        self._response.enable_chunked_encoding()

    async def send(self, piece: bytes) -> None:
        """Send one piece, the status and headers before the first.

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
    """Bound what waits between the engine and the client."""
    transport = request.transport
    if transport is None:
        raise ClientGone("the client left before its answer")
    transport.set_write_buffer_limits(high=_BUFFERED_BYTES)
    found: socket.socket = transport.get_extra_info("socket")
    found.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BYTES)
