"""`parley engine` as a process of its own on the embedded engines, alone and behind a `parley serve`."""

import asyncio
import base64
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from aiohttp import ClientSession, ClientTimeout
from numpy.typing import NDArray

from benchmarks.far_end.caller import Caller
from benchmarks.far_end.material import sentence
from benchmarks.far_end.waveform import SAMPLE_RATE_HZ as CALL_RATE_HZ
from tests.fakes import PATIENCE_S

KEY = "only for this test"


@dataclass
class Process:
    """A running command that listens."""

    process: asyncio.subprocess.Process
    url: str

    async def stopped(self) -> int:
        return await asyncio.wait_for(self.process.wait(), PATIENCE_S)


@asynccontextmanager
async def parley(command: str, **settings: str) -> AsyncIterator[Process]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PARLEY_")} | settings
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "agent", command, "--port", "0", "--log-level", "warning"),
        env=environment,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout
        line = await asyncio.wait_for(process.stdout.readline(), PATIENCE_S)
        ready = re.search(r"listening on (http://\S+)\n", line.decode())
        assert ready, f"{line!r} does not say where it listens"
        yield Process(process, ready[1])
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@asynccontextmanager
async def client(url: str) -> AsyncIterator[ClientSession]:
    headers = {"Authorization": f"Bearer {KEY}"}
    async with ClientSession(url, headers=headers, timeout=ClientTimeout(total=PATIENCE_S)) as http:
        yield http


async def test_it_speaks_understands_itself_answers_and_drains() -> None:
    async with parley("engine", PARLEY_ENGINE_SERVER__API_KEYS=f'["{KEY}"]') as engine, client(engine.url) as http:
        asked = {"input": "What time is it?", "response_format": "pcm"}
        async with http.post("/v1/audio/speech", json=asked) as response:
            pcm = np.frombuffer(await response.read(), "<i2")
        assert len(pcm) > 0.8 * 24_000
        async with http.ws_connect("/v1/realtime") as socket:
            heard = await transcribed(socket, np.interp(np.arange(0, len(pcm), 1.5), np.arange(len(pcm)), pcm))
            assert "time" in heard
            body = {"model": "demo", "messages": [{"role": "user", "content": "What is two plus two?"}]}
            async with http.post("/v1/chat/completions", json=body) as response:
                assert "four" in (await response.json())["choices"][0]["message"]["content"]
            engine.process.send_signal(signal.SIGTERM)
            await until_draining(http)
            assert engine.process.returncode is None  # the socket is still open
        assert await engine.stopped() == 0


async def test_a_second_signal_does_not_wait() -> None:
    async with parley("engine") as engine, client(engine.url) as http:
        socket = await http.ws_connect("/v1/realtime")
        await socket.receive()
        engine.process.terminate()
        await until_draining(http)
        engine.process.terminate()
        assert await engine.stopped() == 0


async def test_a_whole_call_is_carried_by_it() -> None:
    """The chain of the call has no engine of its own: it hears, thinks and speaks through the server's three."""
    async with parley("engine", PARLEY_ENGINE_SERVER__API_KEYS=f'["{KEY}"]') as engine:
        base_url = f"{engine.url}/v1"
        remote = {
            "PARLEY_PROFILE": "remote",
            "PARLEY_ASR__BASE_URL": base_url,
            "PARLEY_ASR__MODEL": "sphinx",
            "PARLEY_LLM__BASE_URL": base_url,
            "PARLEY_LLM__MODEL": "demo",
            "PARLEY_TTS__BASE_URL": base_url,
            "PARLEY_TTS__MODEL": "espeak",
            **{f"PARLEY_{part}__API_KEY_ENV": "ENGINE_KEY" for part in ("ASR", "LLM", "TTS")},
            "ENGINE_KEY": KEY,
            "PARLEY_WEBRTC__LOOPBACK": "true",
            "PARLEY_ADMISSION__MAX_LOOP_LAG_MS": "5000",  # the machine that tests may be busy with other things
        }
        async with parley("serve", **remote) as agent, Caller(agent.url) as caller, asyncio.timeout(PATIENCE_S):
            await event(caller, lambda found: found["event"] == "state" and found["state"] == "listening")
            await caller.say(sentence("What time is it?"))
            # "It is ten o'clock": the clock was asked for through the chat's tools.
            await event(caller, lambda found: found["event"] == "heard" and found["text"].strip() == "It")
            spoken = caller.recording()
            assert np.abs(spoken.samples).max() > 0.05
            assert len(spoken.samples) > CALL_RATE_HZ
        async with client(engine.url) as http, http.get("/metrics") as response:
            metrics = await response.text()
        assert 'parley_engine_requests_total{route="/v1/audio/speech",status="200"}' in metrics
        assert 'parley_engine_requests_total{route="/v1/chat/completions",status="200"}' in metrics
        assert 'parley_engine_requests_total{route="/v1/realtime",status="101"}' in metrics


async def transcribed(socket: Any, samples: NDArray[np.float64]) -> str:
    """The text of samples [S] of 16 kHz in 16 bits, sent in blocks of 80 ms."""
    await socket.send_json({"type": "session.update", "model": "sphinx"})
    await socket.send_json({"type": "input_audio_buffer.commit"})
    for start in range(0, len(samples), 1280):
        audio = base64.b64encode(samples[start : start + 1280].astype("<i2").tobytes()).decode()
        await socket.send_json({"type": "input_audio_buffer.append", "audio": audio})
    await socket.send_json({"type": "input_audio_buffer.commit", "final": True})
    while (event := await socket.receive_json(timeout=PATIENCE_S))["type"] != "transcription.done":
        assert event["type"] in {"session.created", "transcription.delta"}, event
    return event["text"]


async def until_draining(http: ClientSession) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            async with http.get("/healthz") as response:
                if response.status == 503:
                    return
            await asyncio.sleep(0.05)


async def event(caller: Caller, wanted: Any) -> dict[str, Any]:
    while True:
        found = json.loads((await caller.next_message()).text).get("data") or {}
        if found.get("type") == "parley" and wanted(found):
            return found
