"""Mistral's protocol of realtime transcription: what its own client does not show."""

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
from aiohttp import ClientWebSocketResponse, WSCloseCode, WSMsgType

from asr.interface import EngineBusy
from tests.fakes import PATIENCE_S

PATH = "/v1/audio/transcriptions/realtime"
SAMPLES = np.array([0.5, -0.25] * 640, np.float32)
FLUSH = {"type": "input_audio.flush"}
END = {"type": "input_audio.end"}


def append(samples: Any) -> dict[str, Any]:
    return {"type": "input_audio.append", "audio": base64.b64encode(samples.tobytes()).decode()}


PCM16 = append((SAMPLES * 32_768).astype("<i2"))


def update(**session: Any) -> dict[str, Any]:
    return {"type": "session.update", "session": session}


@asynccontextmanager
async def session(served: Any, *messages: dict[str, Any]) -> AsyncIterator[ClientWebSocketResponse]:
    async with served.http.ws_connect(PATH, params={"model": "asr-1"}) as socket:
        assert (await socket.receive_json(timeout=PATIENCE_S))["session"]["audio_format"]["encoding"] == "pcm_s16le"
        for message in messages:
            await socket.send_json(message)
        yield socket


async def text_of(socket: ClientWebSocketResponse) -> str:
    """The text of the next `done`, which is what the deltas before it join to."""
    deltas = ""
    while (event := await socket.receive_json(timeout=PATIENCE_S))["type"] == "transcription.text.delta":
        deltas += event["text"]
    assert event["type"] == "transcription.done"
    assert deltas == event["text"]
    return deltas


async def test_a_flush_ends_an_utterance_and_the_session_goes_on(served: Any) -> None:
    async with session(served, PCM16, PCM16, FLUSH, PCM16, FLUSH) as socket:
        assert await text_of(socket) == "one two"
        assert await text_of(socket) == "one"
    assert len(served.recognizer.hearings) == 1


async def test_the_server_closes_once_the_end_is_answered(served: Any) -> None:
    for messages, texts in [
        ([PCM16, FLUSH, END], ["one"]),
        ([PCM16, END], ["one"]),
        ([PCM16, FLUSH, PCM16, END], ["one", "one"]),
        ([END], [""]),
    ]:
        async with session(served, *messages) as socket:
            assert [await text_of(socket) for _ in texts] == texts
            message = await socket.receive(timeout=PATIENCE_S)
            assert (message.type, message.data) == (WSMsgType.CLOSE, WSCloseCode.OK)
        await asyncio.wait_for(served.recognizer.empty.wait(), PATIENCE_S)


async def test_every_encoding_is_the_same_sound(served: Any) -> None:
    for encoding, pcm in [
        ("pcm_s16le", (SAMPLES * 2**15).astype("<i2")),
        ("pcm_s32le", (SAMPLES * 2**31).astype("<i4")),
        ("pcm_f16le", SAMPLES.astype("<f2")),
        ("pcm_f32le", SAMPLES),
    ]:
        asked = update(audio_format={"encoding": encoding, "sample_rate": 16_000}, target_streaming_delay_ms=240)
        async with session(served, asked, append(pcm), END) as socket:
            updated = await socket.receive_json(timeout=PATIENCE_S)
            assert updated["session"]["audio_format"] == {"encoding": encoding, "sample_rate": 16_000}
            assert await text_of(socket) == "one"
        np.testing.assert_array_equal(served.recognizer.hearings[0].pushed[0], SAMPLES)


async def test_an_error_leaves_the_session_usable(served: Any) -> None:
    for message in [
        update(audio_format={"encoding": "pcm_mulaw", "sample_rate": 16_000}),
        update(audio_format={"encoding": "pcm_s16le", "sample_rate": 8_000}),
        update(diarize=True),
        update(turn_detection={"type": "semantic"}),
        append(np.array([1], "<i1")),
        {"type": "input_audio.append"},
        {"type": "input_audio_buffer.append"},
    ]:
        async with session(served, message) as socket:
            error = await socket.receive_json(timeout=PATIENCE_S)
            assert (error["type"], error["error"]["code"]) == ("error", 400)
            assert error["error"]["message"]
            await socket.send_json(PCM16)
            await socket.send_json(END)
            assert await text_of(socket) == "one"


async def test_the_format_is_fixed_once_there_is_audio(served: Any) -> None:
    async with session(served, PCM16, update(audio_format={"encoding": "pcm_f32le"}), END) as socket:
        events = [await socket.receive_json(timeout=PATIENCE_S) for _ in range(3)]
    assert {event["type"] for event in events} == {"transcription.text.delta", "error", "transcription.done"}


async def test_floats_that_are_not_finite_are_refused(served: Any) -> None:
    broken = append(np.array([0.0, np.nan], "<f4"))
    async with session(served, update(audio_format={"encoding": "pcm_f32le"}), broken) as socket:
        await socket.receive_json(timeout=PATIENCE_S)
        assert "finite" in (await socket.receive_json(timeout=PATIENCE_S))["error"]["message"]


async def test_a_busy_engine_ends_nothing_but_the_utterance(served: Any) -> None:
    served.recognizer.refusal = EngineBusy("all 64 streams are taken")
    async with session(served, PCM16) as socket:
        assert (await socket.receive_json(timeout=PATIENCE_S))["error"] == {
            "message": "all 64 streams are taken",
            "code": 503,
        }
        served.recognizer.refusal = None
        await socket.send_json(PCM16)
        await socket.send_json(END)
        assert await text_of(socket) == "one"


async def test_another_model_is_refused_before_the_socket_opens(served: Any) -> None:
    async with served.http.get(PATH, params={"model": "whisper-1"}) as response:
        assert response.status == 404
        assert (await response.json())["error"]["code"] == "model_not_found"
