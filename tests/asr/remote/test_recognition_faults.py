"""What a recognition server can do wrong: lost and refused connections, errors, malformed messages, no end."""

import asyncio
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from asr.interface import EngineBusy, EngineUnreachable, RecognitionError, Transcript
from asr.remote.engine import RemoteRecognition, RemoteRecognizer
from tests.fakes import PATIENCE_S
from tests.fakes.recognition_servers import STEP, Make, final_of, mistral, say, until_final, vllm


@pytest.mark.parametrize("at", ["the beginning", "the middle", "the end"])
async def test_a_lost_connection_is_replaced_and_the_turn_heard_again(
    engine: RemoteRecognizer,
    realtime_server: Any,
    voice: NDArray[np.float32],
    words: list[str],
    at: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    lost, messages = None, 0

    async def lose(session: Any, message: dict[str, Any]) -> bool:
        nonlocal lost, messages
        messages += 1
        is_end = message.get("final") or message["type"].endswith("flush")
        if lost is None and (is_end if at == "the end" else messages == (1 if at == "the beginning" else 3)):
            lost = session
            session.drop()
        return session is lost

    async with engine.listen() as stream:
        assert await say(stream, voice) == " ".join(words)
        realtime_server.fault = lose
        for start in range(0, len(voice), STEP):
            stream.push(voice[start : start + STEP])
            await asyncio.sleep(0)
        stream.flush()
        final = (await until_final(stream))[-1]
        assert final == Transcript(" ".join(words), True, len(voice), 2 * len(voice))
        assert await say(stream, voice) == " ".join(words)
    assert len(realtime_server.sessions) == 2
    assert "lost in mid-turn, replaying" in caplog.text
    assert words[0] not in caplog.text


async def test_a_connection_lost_between_turns_is_replaced_at_once(
    engine: RemoteRecognizer, realtime_server: Any, voice: NDArray[np.float32], words: list[str]
) -> None:
    async with engine.listen() as stream, asyncio.timeout(PATIENCE_S):
        await say(stream, voice)
        realtime_server.sessions[0].drop()
        assert await say(stream, voice) == " ".join(words)
    assert len(realtime_server.sessions) == 2


async def test_after_too_many_lost_connections_the_stream_ends(
    make: Make, realtime_server: Any, voice: NDArray[np.float32]
) -> None:
    async def lose(session: Any, message: dict[str, Any]) -> bool:
        session.drop()
        return True

    async with make(realtime_server, reconnects=2) as engine, engine.listen() as stream:
        realtime_server.fault = lose
        stream.push(voice)
        with pytest.raises(EngineUnreachable, match="connection"):
            await until_final(stream)
        stream.push(voice)
        stream.flush()
    assert len(realtime_server.sessions) == 3


async def test_a_server_that_comes_back_late_is_waited_for(
    make: Make, realtime_server: Any, voice: NDArray[np.float32], words: list[str]
) -> None:
    async with make(realtime_server) as engine, engine.listen() as stream:
        realtime_server.refusals = [(503, {}), (502, {}), (429, {"Retry-After": "0.01"})]
        realtime_server.sessions[0].drop()
        assert await say(stream, voice) == " ".join(words)


@pytest.mark.parametrize(
    ("status", "headers", "kind", "message"),
    [
        (401, {}, RecognitionError, "answered 401: name the variable with its key in api_key_env|check the key in"),
        (404, {}, RecognitionError, "answered 404: check base_url, model"),
        (429, {"Retry-After": "30"}, EngineBusy, "answered 429: try again later in 30 s"),
    ],
)
async def test_a_refused_connection(
    engine: RemoteRecognizer, realtime_server: Any, status: int, headers: Any, kind: type, message: str
) -> None:
    realtime_server.refusals = [(status, headers)]
    with pytest.raises(RecognitionError, match=message) as error:
        await engine.listen().__aenter__()
    assert type(error.value) is kind
    assert "sk-very-secret" not in str(error.value)
    async with engine.listen() as stream:  # its slot is free, and the server back
        stream.flush()
        assert await final_of(stream) == ""


async def test_a_server_that_opens_no_session(make: Make, realtime_server: Any) -> None:
    async with make(realtime_server, answer_timeout_s=0.1) as engine:
        realtime_server.is_silent = True
        with pytest.raises(EngineUnreachable, match=r"opened no session in 0.1 s"):
            await engine.listen().__aenter__()


async def test_an_end_that_never_comes_takes_what_was_heard(
    make: Make, realtime_server: Any, voice: NDArray[np.float32], words: list[str]
) -> None:
    async def forget(session: Any, message: dict[str, Any]) -> bool:
        return bool(message.get("final")) or message["type"].endswith("flush")

    async with make(realtime_server, flush_timeout_s=0.2) as engine, engine.listen() as stream:
        realtime_server.fault = forget
        stream.push(voice)
        async with asyncio.timeout(PATIENCE_S):
            while (await anext(stream)).text != " ".join(words[:10]):
                pass
        stream.flush()
        assert await final_of(stream) == " ".join(words[:10])
        realtime_server.fault = None
        assert isinstance(stream, RemoteRecognition)
        stream._config = stream._config.model_copy(update={"flush_timeout_s": PATIENCE_S})
        assert await say(stream, voice) == " ".join(words)
    assert len(realtime_server.sessions) == 2  # the late end of the first turn cannot be taken for the second's


async def test_an_error_of_the_server_costs_nothing_but_time(
    engine: RemoteRecognizer, realtime_server: Any, voice: NDArray[np.float32], words: list[str]
) -> None:
    errors = 1

    async def fail(session: Any, message: dict[str, Any]) -> bool:
        nonlocal errors
        if errors and message["type"].endswith("append"):
            errors -= 1
            error = "boom" if session.is_vllm else {"message": {"detail": "boom"}, "code": 3804}
            await session.send(type="error", error=error, code="processing_error")
            return True
        return False

    realtime_server.fault = fail
    async with engine.listen() as stream:
        assert await say(stream, voice) == " ".join(words)
    assert not errors


async def test_an_unknown_model_is_said_at_once(realtime_server: Any, voice: NDArray[np.float32]) -> None:
    async def unknown(session: Any, message: dict[str, Any]) -> bool:
        await session.send(type="error", error="no model m", code="model_not_found")
        return True

    realtime_server.fault = unknown
    async with vllm(realtime_server) as engine, engine.listen() as stream:
        with pytest.raises(RecognitionError, match=r"failed \(no model m\): check model = 'm' and base_url"):
            await say(stream, voice)
    assert len(realtime_server.sessions) == 1


@pytest.mark.parametrize(
    ("make", "nonsense"),
    [
        (vllm, "{oops"),
        (vllm, "7"),
        (vllm, b"{}"),
        (vllm, '{"type": "transcription.delta"}'),
        (vllm, '{"type": "transcription.done", "text": null}'),
        (mistral, '{"type": "transcription.text.delta", "text": 7}'),
    ],
)
async def test_a_malformed_message_ends_the_connection(
    make: Make, realtime_server: Any, voice: NDArray[np.float32], nonsense: str | bytes
) -> None:
    async def babble(session: Any, message: dict[str, Any]) -> bool:
        await (session.socket.send_str if isinstance(nonsense, str) else session.socket.send_bytes)(nonsense)
        return True

    realtime_server.fault = babble
    async with make(realtime_server, reconnects=1) as engine, engine.listen() as stream:
        with pytest.raises(EngineUnreachable, match=r"not a JSON object|malformed event \(transcription.* without"):
            await say(stream, voice)
    assert len(realtime_server.sessions) == 2
