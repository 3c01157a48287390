"""A speech server in this process, of vLLM-Omni's dialect and of Mistral's; it misbehaves as it is told."""

import asyncio
import base64
import json
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import numpy as np
import pytest
from aiohttp import web

RATE_HZ = 24_000
SAMPLES_PER_CHARACTER = 1500
NAMES = ("neutral_female", "fr_male", "casual_male")

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


def speech(text: str) -> np.ndarray:
    """What the server says: 16-bit values that only depend on the text."""
    rng = np.random.default_rng(zlib.crc32(text.encode()))
    return rng.integers(-8000, 8000, SAMPLES_PER_CHARACTER * len(text)).astype("<i2")


class SpeechServer:
    """Answers by `script`, one request after the other, then as it should."""

    def __init__(self) -> None:
        self.script: list[Answer] = []
        self.bodies: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.gone = asyncio.Event()  # a client left before the end of its answer
        self.names: Sequence[str] = NAMES
        self.voices_status = 200
        self.written = 0  # bytes of audio
        self.url = ""

    async def models(self, request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": []})

    async def voices(self, request: web.Request) -> web.Response:
        if self.voices_status != 200:
            return web.json_response({}, status=self.voices_status)
        if "limit" not in request.query:
            return web.json_response({"voices": list(self.names), "uploaded_voices": []})
        items = [
            {"id": f"id-{name}", "name": name.title(), "slug": name, "languages": ["fr" if "fr" in name else "en_US"],
             "created_at": "2026-01-01T00:00:00Z", "user_id": None, "type": "preset"}
            for name in self.names
        ]  # fmt: skip
        return web.json_response({"items": items, "total": len(items), "page": 1, "page_size": 100, "total_pages": 1})

    async def speak(self, request: web.Request) -> web.StreamResponse:
        self.keys.append(request.headers.get("Authorization"))
        self.bodies.append(await request.json())
        answer = self.script.pop(0) if self.script else self.answer
        try:
            return await answer(request)
        except (asyncio.CancelledError, ConnectionResetError):
            self.gone.set()
            raise

    async def answer(self, request: web.Request) -> web.StreamResponse:
        body = self.bodies[-1]
        samples = speech(body["input"])
        if "voice_id" in body:
            return await self.send(request, "text/event-stream", *events((samples / 32768).astype("<f4"), "audio_data"))
        if body["stream_format"] == "sse":
            return await self.send(request, "text/event-stream", *events(samples, "audio"))
        data = samples.tobytes()
        return await self.send(request, "audio/pcm", *(data[at : at + 6007] for at in range(0, len(data), 6007)))

    async def send(self, request: web.Request, content_type: str, *parts: bytes | None) -> web.StreamResponse:
        """Parts of a body; None in place of one keeps the client waiting, b"" breaks the connection."""
        response = web.StreamResponse(headers={"Content-Type": content_type})
        await response.prepare(request)
        for part in parts:
            if part is None:
                await asyncio.Event().wait()
            elif not part:
                assert request.transport
                request.transport.abort()
                break
            else:
                await response.write(part)
                self.written += len(part)
        return response

    def sends(self, content_type: str, *parts: bytes | None) -> None:
        """Answer the next request with these parts."""
        self.script.append(lambda request: self.send(request, content_type, *parts))

    def fails(self, status: int, body: Any = None, headers: dict[str, str] | None = None) -> None:
        """Answer the next request with an error."""

        async def answer(request: web.Request) -> web.StreamResponse:
            return web.json_response(body or {}, status=status, headers=headers)

        self.script.append(answer)


def events(samples: np.ndarray, field: str) -> Sequence[bytes]:
    """An event stream of the samples, cut where no sample ends."""
    data = samples.tobytes()
    parts = [data[at : at + 9_001] for at in range(0, len(data), 9_001)]
    deltas = [{"type": "speech.audio.delta", field: base64.b64encode(part).decode()} for part in parts]
    done = {"type": "speech.audio.done", "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}}
    return [event(found) for found in (*deltas, done)]


def event(found: dict[str, Any]) -> bytes:
    return f"event: {found['type']}\ndata: {json.dumps(found)}\n\n".encode()


@pytest.fixture
async def speech_server() -> AsyncIterator[SpeechServer]:
    server = SpeechServer()
    app = web.Application()
    app.add_routes([
        web.get("/v1/models", server.models),
        web.get("/v1/audio/voices", server.voices),
        web.post("/v1/audio/speech", server.speak),
    ])  # fmt: skip
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    yield server
    await runner.cleanup()
