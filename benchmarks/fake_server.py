"""Parley's chain of one call on engines that take no time: what is left is what the chain itself costs.

The recogniser hears "what time is it" in whatever was said, well after the pause that ends the turn, so that its final
transcript alone sets off the reply. The reply is a steady tone, there at once. GET /finals lists when finals were
handed over, in CLOCK_MONOTONIC seconds.
"""

import asyncio
import contextlib
import sys
import time
from collections.abc import Sequence
from typing import Self

import numpy as np
from aiohttp import web
from numpy.typing import NDArray

from agent.metrics import Metrics
from asr.interface import Transcript
from llm.interface import Message, TextDelta, Tool
from pipelines.call import Engines, prepare, run_call
from pipelines.config import CallConfig
from tts.interface import SpeechChunk, Voice
from webrtc.call import Call
from webrtc.config import SignallingConfig, WebRTCConfig
from webrtc.signalling import Signalling

FINAL_DELAY_S = 1.0
TONE_HZ = 440.0
TONE_S = 1.0
CHUNK_SAMPLES = 1_920


class LateRecognition:
    """Answers every flush with the same final transcript, FINAL_DELAY_S later."""

    def __init__(self, finals: list[float]) -> None:
        self._finals = finals
        self._due: asyncio.Queue[float] = asyncio.Queue(maxsize=16)
        self._pushed = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    def push(self, samples: NDArray[np.float32]) -> None:
        self._pushed += len(samples)

    def flush(self) -> None:
        self._due.put_nowait(time.monotonic() + FINAL_DELAY_S)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Transcript:
        due = await self._due.get()
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        self._finals.append(time.monotonic())
        return Transcript("what time is it", is_final=True, start_samples=0, end_samples=self._pushed, confidence=1.0)


class LateRecognizer:
    """Recognises nothing, on time."""

    def __init__(self, finals: list[float]) -> None:
        self._finals = finals

    def listen(self, *, language: str | None = None) -> LateRecognition:  # noqa: ARG002
        return LateRecognition(self._finals)


class OneSentence:
    """A reply that is there at once."""

    def __init__(self) -> None:
        self._pieces = ["A tone."]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.cancel()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> TextDelta:
        if not self._pieces:
            raise StopAsyncIteration
        return TextDelta(self._pieces.pop())

    def cancel(self) -> None:
        self._pieces.clear()


class OneSentenceModel:
    """Always says the same."""

    def reply(self, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> OneSentence:  # noqa: ARG002
        return OneSentence()


class Tone:
    """An utterance of TONE_S, there at once, loud from its first sample."""

    def __init__(self, text: str, sample_rate_hz: int) -> None:
        time_s = np.arange(round(TONE_S * sample_rate_hz)) / sample_rate_hz
        self._samples = (0.3 * np.cos(2 * np.pi * TONE_HZ * time_s)).astype(np.float32)
        self._text = text
        self._position = 0
        self._is_held = False
        self._resumed = asyncio.Event()
        self._resumed.set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.cancel()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SpeechChunk:
        await self._resumed.wait()
        if self._position >= len(self._samples):
            raise StopAsyncIteration
        start, end = self._position, min(self._position + CHUNK_SAMPLES, len(self._samples))
        self._position = end
        share = len(self._text) / len(self._samples)
        return SpeechChunk(self._samples[start:end], int(start * share), round(end * share))

    def hold(self) -> None:
        self._resumed.clear()

    def resume(self) -> None:
        self._resumed.set()

    def cancel(self) -> None:
        self._position = len(self._samples)
        self._resumed.set()


class ToneSynthesizer:
    """Speaks in tones."""

    sample_rate_hz = 24_000
    voices = (Voice("tone", "en"),)

    def speak(self, text: str, *, voice: str, language: str) -> Tone:  # noqa: ARG002
        return Tone(text, self.sample_rate_hz)


async def serve() -> None:
    """Answer offers on a free port until cancelled."""
    config = CallConfig(greeting="")
    prepare(config)
    finals: list[float] = []
    engines = Engines(LateRecognizer(finals), ToneSynthesizer(), OneSentenceModel())
    metrics = Metrics()

    async def hold(call: Call) -> None:
        async with call:
            await run_call(call, engines, config, tools=(), observer=metrics)

    async with asyncio.TaskGroup() as calls:
        transport = WebRTCConfig(loopback=True, signalling=SignallingConfig(offers_per_minute=10_000))
        signalling = Signalling(
            transport, accept=lambda call: _ignore(calls.create_task(hold(call))), admit=lambda: None
        )

        async def list_finals(_: web.Request) -> web.Response:
            return web.json_response(finals)

        app = web.Application()
        app.router.add_routes(signalling.routes())
        app.router.add_get("/finals", list_finals)
        runner = web.AppRunner(app)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            print(f"Fakes are listening on http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
            await asyncio.Event().wait()
        finally:
            await runner.cleanup()


def _ignore(_: object) -> None:
    """The task group owns the task."""


def main() -> int:
    """Serve until interrupted."""
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve())
    return 0


if __name__ == "__main__":
    sys.exit(main())
