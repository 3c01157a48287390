"""Recognition on other people's servers: what they are told, what they may say, and how they may be lost."""

import asyncio
import logging
from typing import Any

import numpy as np
import pytest
from mistralai.client import Mistral
from mistralai.extra.realtime import UnknownRealtimeEvent
from numpy.typing import NDArray

from asr.config import VllmRealtimeConfig
from asr.interface import EngineBusy, EngineUnreachable, Transcript
from asr.remote.engine import RemoteRecognizer
from asr.remote.transcripts import Transcripts
from asr.remote.turns import FellBehind, RemoteTurns
from asr.remote.vllm import VllmRealtime
from tests.fakes import PATIENCE_S
from tests.fakes.recognition_servers import STEP, Make, final_of, kinds, mistral, say, until_final, vllm


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
    async with engine.listen() as stream, asyncio.timeout(PATIENCE_S):
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

    async with vllm(realtime_server) as engine, engine.listen() as stream, asyncio.timeout(PATIENCE_S):
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
    async with make(realtime_server, backlog_s=0.5) as engine, engine.listen() as stream, asyncio.timeout(PATIENCE_S):
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
    async with asyncio.timeout(PATIENCE_S):
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
            kinds.append(str(event.type))
            if event.type == "transcription.done":
                break
    assert kinds == ["session.created", "transcription.text.delta", "transcription.done"]
