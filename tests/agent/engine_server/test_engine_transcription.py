"""/v1/realtime: vLLM's protocol of transcription, its errors, and sockets that close."""

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
from aiohttp import ClientWebSocketResponse, WSMsgType

from asr.interface import EngineBusy
from tests.fakes import PATIENCE_S

UPDATE = {"type": "session.update", "model": "owner/asr-1"}
BEGIN = {"type": "input_audio_buffer.commit"}
END = {"type": "input_audio_buffer.commit", "final": True}
PCM = np.arange(1280, dtype="<i2")
APPEND = {"type": "input_audio_buffer.append", "audio": base64.b64encode(PCM.tobytes()).decode()}


@asynccontextmanager
async def session(served: Any, *messages: dict[str, Any]) -> AsyncIterator[ClientWebSocketResponse]:
    async with served.http.ws_connect("/v1/realtime") as socket:
        created = await socket.receive_json(timeout=PATIENCE_S)
        assert created["type"] == "session.created"
        assert created["id"].startswith("sess-")
        await send(socket, *messages)
        yield socket


async def send(socket: ClientWebSocketResponse, *messages: dict[str, Any]) -> None:
    for message in messages:
        await socket.send_json(message)


async def until_done(socket: ClientWebSocketResponse) -> tuple[list[str], dict[str, Any]]:
    """The deltas of one utterance, and its end."""
    deltas: list[str] = []
    while (event := await socket.receive_json(timeout=PATIENCE_S))["type"] == "transcription.delta":
        deltas.append(event["delta"])
    return deltas, event


async def test_an_utterance(served: Any) -> None:
    async with session(served, UPDATE, BEGIN, APPEND, APPEND, END) as socket:
        deltas, done = await until_done(socket)
    assert deltas == ["one", " two"]
    assert done["type"] == "transcription.done"
    assert done["text"] == "one two"
    assert done["usage"]["prompt_tokens"] == 2
    (hearing,) = served.recognizer.hearings
    np.testing.assert_array_equal(hearing.pushed[0], PCM.astype(np.float32) / 32_768)


async def test_one_recognition_serves_all_utterances_of_a_socket(served: Any) -> None:
    async with session(served, UPDATE) as socket:
        assert served.recognizer.hearings == []  # a socket in reserve takes no slot
        for _ in range(3):
            await send(socket, BEGIN, APPEND, END)
            assert await until_done(socket) == (["one"], {**_done("one"), "usage": _usage(1)})
    assert len(served.recognizer.hearings) == 1


async def test_audio_ahead_of_its_commit_is_kept(served: Any) -> None:
    async with session(served, UPDATE, APPEND, APPEND, END, APPEND, END) as socket:
        assert (await until_done(socket))[1]["text"] == "one two"
        assert (await until_done(socket))[1]["text"] == "one"


async def test_a_second_beginning_changes_nothing(served: Any) -> None:
    async with session(served, UPDATE, BEGIN, APPEND, BEGIN, APPEND, END) as socket:
        assert (await until_done(socket))[1]["text"] == "one two"


async def test_nothing_said_is_an_empty_text(served: Any) -> None:
    async with session(served, UPDATE, BEGIN, END) as socket:
        assert await until_done(socket) == ([], {**_done(""), "usage": _usage(0)})


async def test_a_recognizer_that_thinks_again_has_the_last_word(served: Any) -> None:
    served.recognizer.rewrites = True
    async with session(served, UPDATE, BEGIN, APPEND, APPEND, END) as socket:
        deltas, done = await until_done(socket)
    assert deltas == ["one", " two"]
    assert done["text"] == "none two"


async def test_an_error_leaves_the_socket_usable(served: Any) -> None:
    for message, code in [
        ("{", "invalid_json"),
        ("[]", "invalid_json"),
        ('{"type": "session.update"}', "invalid_event"),
        ('{"type": "session.update", "model": "whisper-1"}', "model_not_found"),
        ('{"type": "input_audio_buffer.commit"}', "model_not_validated"),
        ('{"type": "input_audio_buffer.append"}', "invalid_audio"),
        ('{"type": "input_audio_buffer.append", "audio": ""}', "invalid_audio"),
        ('{"type": "input_audio_buffer.append", "audio": "AA=="}', "invalid_audio"),  # 1 byte
        ('{"type": "input_audio_buffer.append", "audio": "AAAA"}', "invalid_audio"),  # 3 bytes
        ('{"type": "input_audio_buffer.append", "audio": "!!!!"}', "invalid_audio"),
        ('{"type": "response.create"}', "unknown_event"),
        ("{}", "unknown_event"),
    ]:
        async with session(served) as socket:
            await socket.send_str(message)
            error = await socket.receive_json(timeout=PATIENCE_S)
            assert (error["type"], error["code"]) == ("error", code)
            assert isinstance(error["error"], str)
            await send(socket, UPDATE, BEGIN, APPEND, END)
            assert (await until_done(socket))[1]["text"] == "one"


async def test_audio_without_a_commit_has_a_limit(serve: Any) -> None:
    async with serve(uncommitted_audio_s=0.2) as served, session(served, UPDATE, *[APPEND] * 3) as socket:
        assert (await socket.receive_json(timeout=PATIENCE_S))["code"] == "invalid_audio"
        await send(socket, END)
        assert (await until_done(socket))[1]["text"] == "one two"


async def test_a_busy_engine_is_told_and_may_be_free_later(served: Any) -> None:
    served.recognizer.refusal = EngineBusy("all 64 streams are taken")
    async with session(served, UPDATE, BEGIN) as socket:
        assert (await socket.receive_json(timeout=PATIENCE_S))["code"] == "engine_busy"
        served.recognizer.refusal = None
        await send(socket, BEGIN, APPEND, END)
        assert (await until_done(socket))[1]["text"] == "one"


async def test_a_recognizer_that_fails_costs_one_utterance(served: Any) -> None:
    served.recognizer.fails_at_word = 2
    async with session(served, UPDATE, BEGIN, APPEND, APPEND) as socket:
        deltas, error = await until_done(socket)
        assert deltas == ["one"]
        assert (error["code"], error["error"]) == ("processing_error", "the recognizer failed")
        served.recognizer.fails_at_word = None
        await send(socket, BEGIN, APPEND, END)
        assert (await until_done(socket))[1]["text"] == "one"
    await asyncio.wait_for(served.recognizer.empty.wait(), PATIENCE_S)
    assert len(served.recognizer.hearings) == 2


async def test_a_socket_that_closes_frees_its_stream(served: Any) -> None:
    async with session(served, UPDATE, BEGIN, APPEND) as socket:
        await socket.receive_json(timeout=PATIENCE_S)
        assert served.recognizer.open == 1
    await asyncio.wait_for(served.recognizer.empty.wait(), PATIENCE_S)


async def test_a_binary_message_ends_the_socket(served: Any) -> None:
    async with session(served, UPDATE, BEGIN, APPEND) as socket:
        await socket.receive_json(timeout=PATIENCE_S)
        await socket.send_bytes(b"\0\0")
        assert (await socket.receive(timeout=PATIENCE_S)).type is WSMsgType.CLOSE
    await asyncio.wait_for(served.recognizer.empty.wait(), PATIENCE_S)


async def test_a_message_beyond_the_limit_ends_the_socket(serve: Any) -> None:
    async with serve(max_body_bytes=1000) as served, session(served, UPDATE, APPEND) as socket:
        assert (await socket.receive(timeout=PATIENCE_S)).type is WSMsgType.CLOSE
        assert socket.close_code == 1009


async def test_a_request_without_a_socket_is_refused(served: Any) -> None:
    async with served.http.get("/v1/realtime") as response:
        assert response.status == 400
        assert "error" in await response.json()


def _done(text: str) -> dict[str, Any]:
    return {"type": "transcription.done", "text": text}


def _usage(steps: int) -> dict[str, int]:
    return {"prompt_tokens": steps, "completion_tokens": 0, "total_tokens": steps}
