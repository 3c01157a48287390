"""A chat completions server in this process: it thinks with the demo mind, and misbehaves as it is told."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from llm.config import DemoConfig
from llm.demo import DemoMind
from llm.interface import Message, TextDelta, Tool, ToolCall

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ChatServer:
    """Answers by `script`, one request after the other, then as the demo mind would."""

    def __init__(self) -> None:
        self.script: list[Answer] = []
        self.bodies: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.gone = asyncio.Event()  # a client left before the end of its answer
        self.models_asked = 0
        self.url = ""

    async def models(self, request: web.Request) -> web.Response:
        self.models_asked += 1
        return web.json_response({"object": "list", "data": [{"id": "demo", "object": "model"}]})

    async def chat(self, request: web.Request) -> web.StreamResponse:
        self.keys.append(request.headers.get("Authorization"))
        self.bodies.append(await request.json())
        answer = self.script.pop(0) if self.script else self.think
        try:
            return await answer(request)
        except (asyncio.CancelledError, ConnectionResetError):
            self.gone.set()
            raise

    async def think(self, request: web.Request) -> web.StreamResponse:
        body = self.bodies[-1]
        messages = [message_of(wire) for wire in body["messages"]]
        tools = [Tool(tool["function"]["name"], "", {}) for tool in body.get("tools", ())]
        chunks = []
        async with DemoMind(DemoConfig()).reply(messages, tools) as reply:
            async for piece in reply:
                if isinstance(piece, TextDelta):
                    chunks.append(chunk({"content": piece.text}))
                else:
                    function = {"name": piece.name, "arguments": piece.arguments}
                    call = {"index": 0, "id": "abcdefgh1", "type": "function", "function": function}
                    chunks.append(chunk({"tool_calls": [call]}))
        return await stream(request, [*map(data, chunks), data(chunk({}, "stop")), "data: [DONE]\n\n"])

    def says(self, *lines: str) -> None:
        """Answer the next request with these lines of an event stream."""
        self.script.append(lambda request: stream(request, lines))

    def fails(self, status: int, body: Any = None, headers: dict[str, str] | None = None) -> None:
        """Answer the next request with an error."""

        async def answer(request: web.Request) -> web.StreamResponse:
            return web.json_response(body or {}, status=status, headers=headers)

        self.script.append(answer)


def message_of(wire: dict[str, Any]) -> Message:
    calls = tuple(
        ToolCall(call["id"], call["function"]["name"], call["function"]["arguments"])
        for call in wire.get("tool_calls") or ()
    )
    return Message(wire["role"], wire.get("content") or "", calls, wire.get("tool_call_id"))


def chunk(delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "demo", "choices": [choice]}


def data(chunk: dict[str, Any]) -> str:
    return f"data: {json.dumps(chunk)}\n\n"


async def stream(request: web.Request, lines: Any) -> web.StreamResponse:
    """Lines as an event stream; None in place of a line keeps the client waiting, "" breaks the connection."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for line in lines:
        if line is None:
            await asyncio.Event().wait()
        elif not line:
            assert request.transport
            request.transport.abort()
            break
        else:
            await response.write(line.encode())
    return response


@pytest.fixture
async def chat_server() -> AsyncIterator[ChatServer]:
    server = ChatServer()
    app = web.Application()
    app.add_routes([web.get("/v1/models", server.models), web.post("/v1/chat/completions", server.chat)])
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    yield server
    await runner.cleanup()
