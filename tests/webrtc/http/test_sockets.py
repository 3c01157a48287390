"""Web sockets of JSON: what is delivered, what is not JSON, what is too long, and the server's end."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from aiohttp import WSCloseCode, WSMsgType, web

from webrtc.http.sockets import JsonSockets, NotJson

Serve = Callable[..., AbstractAsyncContextManager[Any]]


def echo(sockets: JsonSockets) -> Callable[[web.Request], Any]:
    """Sends back what is JSON, and of what is not why."""

    async def handler(request: web.Request) -> web.StreamResponse:
        response, socket = await sockets.accept(request)
        async for message in socket.messages():
            await socket.send({"not json": str(message)} if isinstance(message, NotJson) else message)
        return response

    return handler


def new_sockets(max_message_bytes: int = 1000) -> JsonSockets:
    return JsonSockets(max_message_bytes=max_message_bytes, write_timeout_s=5.0)


async def test_objects_come_through_and_anything_else_is_told(serve: Serve) -> None:
    async with serve(echo(new_sockets())) as client, client.ws_connect("/") as socket:
        await socket.send_json({"a": 1})
        assert await socket.receive_json() == {"a": 1}
        for text, found in (("{", "something else"), ("[1]", "list"), ("7", "int")):
            await socket.send_str(text)
            assert await socket.receive_json() == {"not json": f"wanted a JSON object, found {found}"}
        await socket.send_json({"b": 2})  # the conversation goes on
        assert await socket.receive_json() == {"b": 2}


async def test_a_message_that_is_too_long_or_binary_ends_the_socket(serve: Serve) -> None:
    async with serve(echo(new_sockets(100))) as client:
        async with client.ws_connect("/") as socket:
            await socket.send_json({"a": "x" * 200})
            message = await socket.receive()
            assert (message.type, message.data) == (WSMsgType.CLOSE, WSCloseCode.MESSAGE_TOO_BIG)
        async with client.ws_connect("/") as socket:
            await socket.send_bytes(b"{}")
            assert (await socket.receive()).type is WSMsgType.CLOSE


async def test_all_are_told_when_the_server_stops(serve: Serve) -> None:
    sockets = new_sockets()
    async with serve(echo(sockets)) as client, client.ws_connect("/") as one, client.ws_connect("/") as other:
        for socket in (one, other):
            await socket.send_json({})
            await socket.receive_json()
        await sockets.close_all(client.app)
        for socket in (one, other):
            message = await socket.receive()
            assert (message.type, message.data) == (WSMsgType.CLOSE, WSCloseCode.GOING_AWAY)
