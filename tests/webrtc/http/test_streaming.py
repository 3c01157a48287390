"""Answers piece by piece: order, the end, an end in the middle, and a client that takes nothing."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tests.fakes import PATIENCE_S
from webrtc.http.errors import ClientGone
from webrtc.http.streaming import StreamedResponse

Serve = Callable[..., AbstractAsyncContextManager[Any]]


async def test_pieces_come_in_order_as_they_are_sent(serve: Serve) -> None:
    may_go_on = asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        streamed = StreamedResponse(request, "text/event-stream", 5.0)
        await streamed.send(b"one ")
        await may_go_on.wait()
        await streamed.send(b"two")
        return await streamed.end()

    async with serve(handler) as client, client.get("/") as response:
        assert response.content_type == "text/event-stream"
        assert await response.content.readany() == b"one "
        may_go_on.set()
        assert await response.read() == b"two"


async def test_an_answer_that_is_broken_off_is_seen_to_be(serve: Serve) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        streamed = StreamedResponse(request, "audio/pcm", 5.0)
        await streamed.send(b"one")
        return streamed.break_off()

    async with serve(handler) as client, client.get("/") as response:
        with pytest.raises(aiohttp.ClientError):
            await response.read()


async def test_a_client_that_takes_nothing_is_dropped_and_little_is_kept_for_it(serve: Serve) -> None:
    piece = b"x" * 4096
    outcome: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def handler(request: web.Request) -> web.StreamResponse:
        streamed = StreamedResponse(request, "audio/pcm", 0.2)
        sent = 0
        try:
            while True:
                await streamed.send(piece)
                sent += len(piece)
        except ClientGone:
            outcome.set_result(sent)
            raise

    async with serve(handler) as client:
        reader, writer = await asyncio.open_connection(client.host, client.port, limit=1)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        async with asyncio.timeout(PATIENCE_S):
            sent = await outcome
        assert sent < 8 << 20  # the client's own buffers take most of it
        writer.close()
