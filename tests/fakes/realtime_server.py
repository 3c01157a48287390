"""A recognition server in this process: Voxtral Realtime as vLLM serves it and as Mistral does."""

import asyncio
import base64
import json
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from tests.fakes.tiny_realtime import STEP_SAMPLES

STEP_BYTES = 2 * STEP_SAMPLES
Fault = Callable[["Session", dict[str, Any]], Awaitable[bool]]


def hear_words(pcm16: bytes) -> list[str]:
    """What the server hears: a word for each step of audio, which depends on its every bit."""
    steps = [pcm16[at : at + STEP_BYTES] for at in range(0, len(pcm16), STEP_BYTES)]
    return [f"w{zlib.crc32(step) % 10_000}" for step in steps]


@dataclass(eq=False)
class Session:
    """One connection to the server."""

    socket: web.WebSocketResponse
    request: web.Request
    is_vllm: bool
    pcm16: bytearray
    said: int = 0  # words of this turn
    text: str = ""  # of this turn
    all_text: str = ""
    is_running: bool = False

    def drop(self) -> None:
        assert self.request.transport
        self.request.transport.abort()

    async def send(self, **message: Any) -> None:
        await self.socket.send_str(json.dumps(message))

    async def hear(self, *, is_over: bool) -> None:
        words = hear_words(bytes(self.pcm16))
        ready = len(words) if is_over else len(self.pcm16) // STEP_BYTES
        for word in words[self.said : ready]:
            await self.delta("")
            await self.delta(f" {word}")
        self.said = max(self.said, ready)

    async def delta(self, text: str) -> None:
        self.text += text
        if self.is_vllm:
            await self.send(type="transcription.delta", delta=text)
        elif text:
            await self.send(type="transcription.text.delta", text=text)

    async def done(self) -> None:
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        self.all_text += self.text
        text = self.text if self.is_vllm else self.all_text
        more = {} if self.is_vllm else {"model": "m", "language": "en"}
        self.pcm16.clear()
        self.text, self.said, self.is_running = "", 0, False
        await self.send(type="transcription.done", text=text, usage=usage, **more)


class RealtimeServer:
    """Voxtral Realtime as vLLM serves it and as Mistral does; it misbehaves as it is told."""

    def __init__(self) -> None:
        self.url = ""
        self.refusals: list[tuple[int, dict[str, str]]] = []  # of the next connections
        self.fault: Fault | None = None  # sees each message first; whether it is dealt with
        self.sessions: list[Session] = []
        self.received: list[dict[str, Any]] = []
        self.closed = asyncio.Semaphore(0)  # released for each connection that a client closed
        self.is_silent = False  # never says that a session was created
        self.keys: list[str | None] = []

    async def models(self, request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": []})

    async def listen(self, request: web.Request) -> web.StreamResponse:
        self.keys.append(request.headers.get("Authorization"))
        if self.refusals:
            status, headers = self.refusals.pop(0)
            return web.json_response({}, status=status, headers=headers)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        session = Session(socket, request, request.path.endswith("/v1/realtime"), bytearray())
        self.sessions.append(session)
        described = {"request_id": "1", "model": "m", "audio_format": {"encoding": "pcm_s16le", "sample_rate": 16000}}
        created: dict[str, Any] = {"id": "sess-1", "created": 1} if session.is_vllm else {"session": described}
        if not self.is_silent:
            await session.send(type="session.created", **created)
        async for frame in socket:
            message = json.loads(frame.data)
            self.received.append(message)
            if self.fault is None or not await self.fault(session, message):
                await self.take(session, message)
        self.closed.release()
        return socket

    async def take(self, session: Session, message: dict[str, Any]) -> None:
        match message["type"]:
            case "input_audio_buffer.commit" if not message["final"]:
                session.is_running = True
            case "input_audio_buffer.commit":
                assert session.is_running
                await session.hear(is_over=True)
                await session.done()
            case "input_audio_buffer.append":
                assert session.is_running
                session.pcm16 += base64.b64decode(message["audio"], validate=True)
                await session.hear(is_over=False)
            case "input_audio.append":
                session.pcm16 += base64.b64decode(message["audio"], validate=True)
                await session.hear(is_over=False)
            case "input_audio.flush":
                await session.hear(is_over=True)
                await session.done()
            case "session.update":
                assert message["model"] if session.is_vllm else message["session"]["audio_format"]
            case _:
                await session.send(type="error", error="unknown event", code="unknown_event")
