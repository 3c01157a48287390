"""Web sockets of JSON objects, kept within limits; all are closed when the server stops."""

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from typing import Any, cast
from weakref import WeakSet

from aiohttp import WSCloseCode, WSMsgType, web

_HEARTBEAT_S = 20.0  # a client that is gone is noticed within 1.5 of these
_CLOSE_TIMEOUT_S = 1.0


class NotJson(Exception):
    """A message that is not a JSON object; the next may be one."""


class JsonSocket:
    """One client's socket."""

    def __init__(self, request: web.Request, socket: web.WebSocketResponse, write_timeout_s: float) -> None:
        self._request = request
        self._socket = socket
        self._write_timeout_s = write_timeout_s

    async def send(self, message: Mapping[str, Any]) -> None:
        """Send one message; a client that is gone or takes nothing is dropped, which ends `messages`."""
        try:
            async with asyncio.timeout(self._write_timeout_s):
                await self._socket.send_str(json.dumps(message))
        except (ConnectionError, TimeoutError):
            if self._request.transport is not None:
                self._request.transport.abort()

    async def messages(self) -> AsyncGenerator[dict[str, Any] | NotJson, None]:
        """What the client sends, until it closes the socket or sends a binary message."""
        async for message in self._socket:
            if message.type is not WSMsgType.TEXT:
                return
            yield _parse_object(message.data)

    async def close(self, code: WSCloseCode) -> None:
        """End it."""
        await self._socket.close(code=code)


class JsonSockets:
    """The open sockets of a server."""

    def __init__(self, *, max_message_bytes: int, write_timeout_s: float) -> None:
        """Accept none yet.

        Args:
            max_message_bytes: of a client's; a longer one closes its socket with code 1009.
            write_timeout_s: longest time that a client may take nothing; then it is dropped.
        """
        self._max_message_bytes = max_message_bytes
        self._write_timeout_s = write_timeout_s
        self._open: WeakSet[web.WebSocketResponse] = WeakSet()

    async def accept(self, request: web.Request) -> tuple[web.WebSocketResponse, JsonSocket]:
        """The request's socket, as the answer to return and as what to talk through."""
        socket = web.WebSocketResponse(
            heartbeat=_HEARTBEAT_S, timeout=_CLOSE_TIMEOUT_S, max_msg_size=self._max_message_bytes, compress=False
        )
        await socket.prepare(request)
        self._open.add(socket)
        return socket, JsonSocket(request, socket, self._write_timeout_s)

    async def close_all(self, _: web.Application) -> None:
        """Tell every client that the server goes away; all at once, as each may take its time to answer."""
        async with asyncio.TaskGroup() as tasks:
            for socket in tuple(self._open):
                tasks.create_task(socket.close(code=WSCloseCode.GOING_AWAY, message=b"the server stops"))


def _parse_object(text: str) -> dict[str, Any] | NotJson:
    try:
        found: Any = json.loads(text)
    except ValueError:
        return NotJson("wanted a JSON object, found something else")
    if not isinstance(found, dict):
        return NotJson(f"wanted a JSON object, found {type(found).__name__}")
    return cast(dict[str, Any], found)
