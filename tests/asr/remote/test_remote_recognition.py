"""Recognition on other people's servers: what they are told, what they may say, and how they may be lost."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import numpy as np
import pytest
from mistralai.client import Mistral
from mistralai.extra.realtime import UnknownRealtimeEvent
from numpy.typing import NDArray
from pydantic import SecretStr

from asr.config import MistralRealtimeConfig, VllmRealtimeConfig
from asr.interface import EngineBusy, EngineUnreachable, Recognition, RecognitionError, Transcript
from asr.remote.engine import RemoteRecognizer
from asr.remote.mistral import MistralRealtime
from asr.remote.transcripts import Transcripts
from asr.remote.turns import FellBehind, RemoteTurns
from asr.remote.vllm import VllmRealtime

STEP = 1280
KEY = SecretStr("sk-very-secret")

Make = Callable[..., RemoteRecognizer]


def vllm(server: Any, **settings: Any) -> RemoteRecognizer:
    config = VllmRealtimeConfig.model_validate({"base_url": server.url, "model": "m", **settings})
    return RemoteRecognizer(config, VllmRealtime(config), KEY)


def mistral(server: Any, **settings: Any) -> RemoteRecognizer:
    config = MistralRealtimeConfig.model_validate({"base_url": server.url, "model": "m", **settings})
    return RemoteRecognizer(config, MistralRealtime(config), KEY)


@pytest.fixture(params=[vllm, mistral], ids=lambda make: make.__name__)
def make(request: pytest.FixtureRequest) -> Make:
    return request.param


@pytest.fixture
async def engine(make: Make, realtime_server: Any) -> AsyncIterator[RemoteRecognizer]:
    async with make(realtime_server) as engine:
        yield engine


@pytest.fixture
def voice() -> NDArray[np.float32]:
    """Ten and a half steps of noise."""
    return np.random.default_rng(1).uniform(-0.5, 0.5, 10 * STEP + STEP // 2).astype(np.float32)


@pytest.fixture
def words(voice: NDArray[np.float32], words_of: Callable[[bytes], list[str]]) -> list[str]:
    """What the server hears in it."""
    return words_of((voice * 32767.0).astype("<i2").tobytes())


async def until_final(stream: Recognition) -> list[Transcript]:
    transcripts: list[Transcript] = []
    async with asyncio.timeout(10.0):
        async for transcript in stream:
            transcripts.append(transcript)
            if transcript.is_final:
                break
    return transcripts


async def final_of(stream: Recognition) -> str:
    return (await until_final(stream))[-1].text


async def say(stream: Recognition, voice: NDArray[np.float32]) -> str:
    stream.push(voice)
    stream.flush()
    return await final_of(stream)


def kinds(server: Any) -> list[Any]:
    """The types of what the server received, runs of one type as one."""
    found = [(message["type"], message.get("final")) for message in server.received]
    return [kind for at, kind in enumerate(found) if at == 0 or found[at - 1] != kind]


async def test_what_vllm_is_told(realtime_server: Any, voice: NDArray[np.float32]) -> None:
    async with vllm(realtime_server) as engine, engine.listen() as stream:
        for _ in range(2):
            await say(stream, voice)
    assert realtime_server.keys == ["Bearer sk-very-secret"]
    assert realtime_server.received[0] == {"type": "session.update", "model": "m"}
    turn = [("input_audio_buffer.commit", False), ("input_audio_buffer.append", None)]
    end = ("input_audio_buffer.commit", True)
    assert kinds(realtime_server) == [("session.update", None), *turn, end, *turn, end]


async def test_what_mistral_is_told(realtime_server: Any, voice: NDArray[np.float32]) -> None:
    async with mistral(realtime_server, delay_ms=240) as engine, engine.listen() as stream:
        for _ in range(2):
            await say(stream, voice)
    assert realtime_server.received[0] == {
        "type": "session.update",
        "session": {
            "audio_format": {"encoding": "pcm_s16le", "sample_rate": 16_000},
            "target_streaming_delay_ms": 240,
        },
    }
    turn = [("input_audio.append", None), ("input_audio.flush", None)]
    assert kinds(realtime_server) == [("session.update", None), *turn, *turn]
    assert realtime_server.sessions[0].request.query == {"model": "m"}


async def test_audio_goes_out_by_the_step_and_text_comes_back(
    engine: RemoteRecognizer, realtime_server: Any, voice: NDArray[np.float32], words: list[str]
) -> None:
    async with engine.listen() as stream, asyncio.timeout(10.0):
        for start in range(0, len(voice), 320):
            stream.push(voice[start : start + 320])
        partial = await anext(stream)
        while partial.text != " ".join(words[:10]):  # the half step waits for its other half
            assert not partial.is_final
            partial = await anext(stream)
        stream.flush()
        final = (await until_final(stream))[-1]
    assert final == Transcript(" ".join(words), True, 0, len(voice))
    appended = [message for message in realtime_server.received if message["type"].endswith("append")]
    assert 1 < len(appended) <= len(words)


async def test_each_turn_has_its_own_text(
    engine: RemoteRecognizer, voice: NDArray[np.float32], words: list[str]
) -> None:
    async with engine.listen() as stream:
        for _ in range(3):  # the second and third wait for the first, on this side
            stream.push(voice)
            stream.flush()
        assert [await final_of(stream) for _ in range(3)] == [" ".join(words)] * 3


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
    async with engine.listen() as stream, asyncio.timeout(10.0):
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

    async with make(realtime_server, flush_timeout_s=0.5) as engine, engine.listen() as stream:
        realtime_server.fault = forget
        assert await say(stream, voice) == " ".join(words[:10])
        realtime_server.fault = None
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


async def test_an_end_with_all_of_its_text_needs_no_pieces(realtime_server: Any, voice: NDArray[np.float32]) -> None:
    async def only_the_end(session: Any, message: dict[str, Any]) -> bool:
        if message.get("final"):
            await session.send(type="transcription.done", text=" all at once", usage={})
        return message["type"] != "session.update"

    realtime_server.fault = only_the_end
    async with vllm(realtime_server) as engine, engine.listen() as stream:
        assert await say(stream, voice) == "all at once"


async def test_a_request_that_the_server_ends_goes_on_in_another(
    realtime_server: Any, voice: NDArray[np.float32], words: list[str]
) -> None:
    is_full = True

    async def full(session: Any, message: dict[str, Any]) -> bool:
        nonlocal is_full
        if message["type"].endswith("append") and is_full:
            is_full = False
            await realtime_server.take(session, message)
            await session.done()
            return True
        return False

    async with vllm(realtime_server) as engine, engine.listen() as stream, asyncio.timeout(10.0):
        realtime_server.fault = full
        stream.push(voice[: 5 * STEP])
        while (await anext(stream)).text != " ".join(words[:5]):
            pass
        stream.push(voice[5 * STEP :])
        stream.flush()
        assert (await until_final(stream))[-1] == Transcript(" ".join(words), True, 0, len(voice))


async def test_what_nobody_keeps_up_with_is_busy(make: Make, realtime_server: Any) -> None:
    async with make(realtime_server, backlog_s=1.0) as engine, engine.listen() as stream:
        stream.push(np.zeros(16_001, np.float32))
        with pytest.raises(EngineBusy, match="fell 1 s behind"):
            await until_final(stream)


async def test_a_long_turn_is_kept_in_part(
    make: Make, realtime_server: Any, voice: NDArray[np.float32], words: list[str]
) -> None:
    async with make(realtime_server, backlog_s=0.5) as engine, engine.listen() as stream, asyncio.timeout(10.0):
        stream.push(voice[: 5 * STEP])
        while (await anext(stream)).text != " ".join(words[:5]):
            pass
        stream.push(voice[5 * STEP :])
        stream.flush()
        assert await final_of(stream) == " ".join(words)


async def test_leaving_closes_the_connection_and_ends_every_task(
    engine: RemoteRecognizer, realtime_server: Any, voice: NDArray[np.float32]
) -> None:
    async with engine.listen() as stream:
        stream.push(voice)
    async with asyncio.timeout(5.0):
        await realtime_server.closed.acquire()
    assert not [task for task in asyncio.all_tasks() if "remote recognition" in task.get_name()]


async def test_nothing_heard_is_logged(
    engine: RemoteRecognizer,
    realtime_server: Any,
    voice: NDArray[np.float32],
    words: list[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    async with engine.listen() as stream:
        await say(stream, voice)
        realtime_server.sessions[0].drop()
        await say(stream, voice)
    assert not any(word in caplog.text for word in words)
    assert "sk-very-secret" not in caplog.text


def test_turns_keep_no_more_than_they_must() -> None:
    turns = RemoteTurns(VllmRealtime(VllmRealtimeConfig(base_url="http://x")), backlog_s=1.0)
    for _ in range(20):
        turns.push(bytes(2 * 8000))
        while turns.next_messages():
            pass
    with pytest.raises(FellBehind):
        turns.push(bytes(2 * 20_000))


async def test_an_unread_partial_gives_way_and_finals_do_not() -> None:
    def transcript(text: str, *, is_final: bool) -> Transcript:
        return Transcript(text, is_final, 0, 0)

    transcripts = Transcripts()
    transcripts.put(transcript(text, is_final=text == "c") for text in "abcd")
    assert [(await transcripts.take()).text for _ in range(2)] == ["c", "d"]
    transcripts.put(transcript("x", is_final=True) for _ in range(101))
    for _ in range(101):
        await transcripts.take()
    with pytest.raises(EngineUnreachable, match="wait to be read"):
        await transcripts.take()


async def test_the_test_server_speaks_to_the_vendors_client(realtime_server: Any) -> None:
    client = Mistral(api_key="k", server_url=realtime_server.url.removesuffix("/v1"))
    async with client, await client.audio.realtime.connect(model="m") as connection:
        await connection.send_audio(bytes(2 * STEP))
        await connection.flush_audio()
        kinds: list[str] = []
        async for event in connection:
            assert not isinstance(event, UnknownRealtimeEvent), event
            kinds.append(event.type)
            if event.type == "transcription.done":
                break
    assert kinds == ["session.created", "transcription.text.delta", "transcription.done"]
