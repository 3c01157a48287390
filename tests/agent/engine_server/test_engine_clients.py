"""The stock clients of OpenAI and Mistral drive the server without a change."""

import base64
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import openai
import pytest
from mistralai.client import Mistral
from mistralai.client.models import AudioFormat, SpeechStreamAudioDelta, UserMessage
from openai import AsyncOpenAI

from llm.interface import TextDelta, ToolCall

KEY = "only for this test"
EXPECTED = np.repeat([0.01, 0.02, 0.03], 1920).astype(np.float32)
CALL = ToolCall("call00001", "look", '{"at": "clock"}')
LOOK: Any = {
    "type": "function",
    "function": {"name": "look", "description": "Look.", "parameters": {"type": "object", "properties": {}}},
}
HELLO: Any = [{"role": "user", "content": "Hello."}]


@pytest.fixture
async def guarded(serve: Any) -> AsyncIterator[Any]:
    async with serve(api_keys=(KEY,)) as served:
        yield served


@pytest.fixture
async def of_openai(guarded: Any) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{guarded.url}/v1", api_key=KEY, max_retries=0) as client:
        yield client


@pytest.fixture
async def of_mistral(guarded: Any) -> AsyncIterator[Mistral]:
    async with Mistral(server_url=guarded.url, api_key=KEY) as client:
        yield client


async def test_openai_lists_models(of_openai: AsyncOpenAI) -> None:
    assert [model.id async for model in of_openai.models.list()] == ["asr-1", "llm-1", "tts-1"]


async def test_openai_chats(of_openai: AsyncOpenAI) -> None:
    reply = await of_openai.chat.completions.create(model="llm-1", messages=HELLO)
    assert reply.choices[0].message.content == "Good day."
    assert reply.usage


async def test_openai_chats_as_a_stream_with_tools(guarded: Any, of_openai: AsyncOpenAI) -> None:
    guarded.language_model.pieces = (TextDelta("Let me see."), CALL)
    text, calls = "", []
    async with await of_openai.chat.completions.create(
        model="llm-1", messages=HELLO, tools=[LOOK], stream=True
    ) as stream:
        async for chunk in stream:
            text += chunk.choices[0].delta.content or ""
            calls += chunk.choices[0].delta.tool_calls or []
    assert text == "Let me see."
    assert [(call.id, call.function.name, call.function.arguments) for call in calls] == [
        ("call00001", "look", '{"at": "clock"}')
    ]


async def test_openai_speaks(of_openai: AsyncOpenAI) -> None:
    async with of_openai.audio.speech.with_streaming_response.create(
        model="tts-1", voice="Ann", input="Hello.", response_format="pcm"
    ) as response:
        pcm = b"".join([block async for block in response.iter_bytes()])
    np.testing.assert_allclose(np.frombuffer(pcm, "<i2") / 32_767, EXPECTED, atol=1e-4)


async def test_openai_transcribes(of_openai: AsyncOpenAI) -> None:
    text, done = "", ""
    async with of_openai.realtime.connect(model="asr-1") as connection:
        await connection.send({"type": "session.update", "model": "asr-1"})  # pyright: ignore[reportArgumentType]
        await connection.send({"type": "input_audio_buffer.commit"})
        await connection.input_audio_buffer.append(audio=base64.b64encode(bytes(2560)).decode())
        await connection.send({"type": "input_audio_buffer.commit", "final": True})  # pyright: ignore[reportArgumentType]
        while not done:
            event: Any = await connection.recv()
            if event.type == "transcription.delta":
                text += event.delta
            if event.type == "transcription.done":
                done = event.text
    assert text == done == "one"


async def test_openai_knows_our_errors(guarded: Any, of_openai: AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="see /v1/models"):
        await of_openai.chat.completions.create(model="gpt-9", messages=HELLO)
    with pytest.raises(openai.BadRequestError, match="no voice named"):
        await of_openai.audio.speech.create(model="tts-1", voice="zoe", input="Hello.", response_format="wav")
    async with AsyncOpenAI(base_url=f"{guarded.url}/v1", api_key="wrong", max_retries=0) as stranger:
        with pytest.raises(openai.AuthenticationError):
            await stranger.models.list()


async def test_mistral_lists_models_and_voices(of_mistral: Mistral) -> None:
    listed = await of_mistral.models.list_async()
    assert [model.model_dump()["id"] for model in listed.data or []] == ["asr-1", "llm-1", "tts-1"]
    with pytest.warns(DeprecationWarning, match="pagination"):  # their cloud's affair; the pages of ours are one
        voices = await of_mistral.audio.voices.list_async()
    assert [(voice.id, voice.languages) for voice in voices.items] == [("Ann", ["en"]), ("Bea", ["pt"])]


async def test_mistral_chats(of_mistral: Mistral) -> None:
    reply = await of_mistral.chat.complete_async(model="llm-1", messages=[UserMessage(content="Hello.")])
    assert reply.choices[0].message
    assert reply.choices[0].message.content == "Good day."


async def test_mistral_chats_as_a_stream_with_tools(guarded: Any, of_mistral: Mistral) -> None:
    guarded.language_model.pieces = (TextDelta("Let me see."), CALL)
    text, calls, reasons = "", [], []
    async with await of_mistral.chat.stream_async(
        model="llm-1", messages=[UserMessage(content="Hello.")], tools=[LOOK]
    ) as stream:
        async for event in stream:
            (choice,) = event.data.choices
            if choice.delta.content:
                assert isinstance(choice.delta.content, str)
                text += choice.delta.content
            calls += choice.delta.tool_calls or []
            reasons.append(choice.finish_reason)
    assert text == "Let me see."
    assert [(call.id, call.function.name) for call in calls] == [("call00001", "look")]
    assert reasons[-1] == "tool_calls"


async def test_mistral_speaks(of_mistral: Mistral) -> None:
    asked: Any = {"input": "Hello.", "model": "tts-1", "voice_id": "Ann", "response_format": "pcm"}
    whole = await of_mistral.audio.speech.complete_async(**asked)
    np.testing.assert_array_equal(np.frombuffer(base64.b64decode(whole.audio_data), "<f4"), EXPECTED)
    audio = b""
    async with await of_mistral.audio.speech.complete_async(**asked, stream=True) as stream:
        async for event in stream:
            if isinstance(event.data, SpeechStreamAudioDelta):
                audio += base64.b64decode(event.data.audio_data)
    np.testing.assert_array_equal(np.frombuffer(audio, "<f4"), EXPECTED)


async def test_mistral_transcribes(guarded: Any, of_mistral: Mistral) -> None:
    async def audio() -> AsyncIterator[bytes]:
        for _ in range(2):
            yield np.full(1280, 0.5, "<f4").tobytes()

    events: list[Any] = [
        event
        async for event in of_mistral.audio.realtime.transcribe_stream(
            audio(), "asr-1", audio_format=AudioFormat(encoding="pcm_f32le", sample_rate=16_000)
        )
    ]
    assert [event.type for event in events] == [
        "session.created",
        "session.updated",
        "transcription.text.delta",
        "transcription.text.delta",
        "transcription.done",
    ]
    assert events[1].session.audio_format.encoding == "pcm_f32le"
    assert (events[-1].text, events[-1].model) == ("one two", "asr-1")
    (hearing,) = guarded.recognizer.hearings
    np.testing.assert_array_equal(hearing.pushed[0], np.full(1280, 0.5, np.float32))
