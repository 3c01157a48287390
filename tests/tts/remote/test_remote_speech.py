"""Speech from other people's servers: what is asked of them, what they may send, and how they may fail."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import numpy as np
import pytest
from mistralai.client import Mistral

from tests.fakes import PATIENCE_S
from tests.fakes.speech_clients import TEXT, mistral, omni, speech_of, until_error
from tts.interface import EngineBusy, EngineUnreachable, SpeechChunk, SynthesisError, Synthesizer, Voice
from tts.remote.engine import RemoteSynthesizer
from tts.remote.samples import FLOAT32, PCM16, SampleReader
from tts.voices import PRESETS

PCM = "audio/pcm"
EVENTS = "text/event-stream"
Make = Callable[..., RemoteSynthesizer]


@pytest.fixture(params=[omni, mistral], ids=lambda make: make.__name__)
def make(request: pytest.FixtureRequest) -> Make:
    return request.param


@pytest.fixture
async def engine(make: Make, speech_server: Any) -> AsyncIterator[Synthesizer]:
    async with make(speech_server) as engine:
        yield engine


def tone(samples: int) -> np.ndarray:
    return (8000 * np.sin(np.arange(samples) / 10)).astype("<i2")


def event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


async def test_what_is_asked_of_omni(speech_server: Any) -> None:
    async with omni(speech_server, model="tts", seed=7, first_block_frames=2) as engine:
        await speech_of(engine)
    assert speech_server.keys == ["Bearer sk-very-secret"]
    assert speech_server.bodies == [
        {
            "input": TEXT, "voice": "neutral_female", "model": "tts", "seed": 7,
            "response_format": "pcm", "stream": True, "stream_format": "audio", "initial_codec_chunk_frames": 2,
        }
    ]  # fmt: skip


async def test_what_is_asked_of_mistral(speech_server: Any) -> None:
    async with mistral(speech_server) as engine:
        await speech_of(engine)
        assert engine.voices[1] == Voice("fr_male", "fr", "Fr_Male")
    assert speech_server.bodies == [
        {
            "input": TEXT, "voice_id": "id-neutral_female", "response_format": "pcm", "stream": True,
            "model": "voxtral-mini-tts-2603",
        }
    ]  # fmt: skip


async def test_all_samples_arrive_whatever_the_blocks(speech_server: Any) -> None:
    data = tone(5000)
    for size in (1, 777, 4001, 20_000):
        raw = data.tobytes()
        speech_server.sends(PCM, *(raw[at : at + size] for at in range(0, len(raw), size)))
        async with omni(speech_server) as engine:
            np.testing.assert_allclose(await speech_of(engine), data / 32768)


async def test_half_a_sample_at_the_end_is_dropped(speech_server: Any) -> None:
    speech_server.sends(PCM, tone(5000).tobytes() + b"\x01")
    async with omni(speech_server) as engine:
        assert len(await speech_of(engine)) == 5000


async def test_less_than_a_chunk_is_spoken_as_well(speech_server: Any) -> None:
    speech_server.sends(PCM, tone(100).tobytes())
    async with omni(speech_server) as engine:
        np.testing.assert_allclose(await speech_of(engine), tone(100) / 32768)


async def test_unknown_events_are_passed_over(speech_server: Any) -> None:
    audio = event("speech.audio.delta", audio="AAAA" * 100)
    speech_server.sends(EVENTS, event("speech.text.delta", text="Hello"), audio, event("speech.audio.done"))
    async with omni(speech_server, transfer="events") as engine:
        assert len(await speech_of(engine)) == 150


DELTA = event("speech.audio.delta", audio="AAAA" * 5000)  # 7500 samples


@pytest.mark.parametrize(
    ("content_type", "parts", "message"),
    [
        pytest.param(PCM, [tone(7500).tobytes(), b""], "the connection broke", id="a broken connection"),
        pytest.param(PCM, [tone(7500).tobytes(), None], "no speech came for 0.2 s", id="silence"),
        pytest.param(EVENTS, [DELTA, b""], "the connection broke", id="a broken connection between events"),
        pytest.param(EVENTS, [DELTA], "ended in the middle", id="no end"),
        pytest.param(EVENTS, [DELTA, b"data: {oops\n\n"], "malformed event", id="no JSON"),
        pytest.param(EVENTS, [DELTA, b"data: 7\n\n"], "malformed event", id="no object"),
        pytest.param(EVENTS, [DELTA, event("speech.audio.delta")], "malformed event", id="no audio"),
        pytest.param(EVENTS, [DELTA, event("speech.audio.delta", audio="A-A")], "malformed event", id="no base64"),
        pytest.param(
            EVENTS, [DELTA, event("speech.audio.error", error={"message": "boom"})], r"failed .*\(boom\)", id="an error"
        ),
    ],
)
async def test_an_utterance_that_breaks_off(speech_server: Any, content_type: str, parts: Any, message: str) -> None:
    speech_server.sends(content_type, *parts)
    async with omni(speech_server, stall_timeout_s=0.2 if None in parts else PATIENCE_S) as engine:
        samples, error = await until_error(engine)
        assert samples >= 7500 - 1920 - 240  # what was whole is delivered
        assert isinstance(error, EngineUnreachable)
        assert await error_matches(error, message)
        assert None in parts or len(await speech_of(engine))  # the next one is not hurt


async def error_matches(error: SynthesisError, message: str) -> bool:
    with pytest.raises(SynthesisError, match=message):
        raise error
    return "\n" not in str(error)


async def test_no_audio_at_all(speech_server: Any) -> None:
    speech_server.sends(PCM)
    speech_server.sends(EVENTS, event("speech.audio.done"))
    async with omni(speech_server) as engine:
        for _ in range(2):
            _, error = await until_error(engine)
            assert "no audio at all" in str(error)


async def test_another_format_than_asked_for(speech_server: Any) -> None:
    speech_server.sends("audio/wav", b"RIFF")
    async with omni(speech_server) as engine:
        _, error = await until_error(engine)
    assert "wanted audio/pcm or events, found audio/wav" in str(error)


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, SynthesisError), (403, SynthesisError), (400, SynthesisError), (429, EngineBusy), (500, EngineUnreachable)],
)
async def test_errors_in_place_of_speech(
    engine: Synthesizer, speech_server: Any, status: int, kind: type[SynthesisError]
) -> None:
    for _ in range(10):
        speech_server.fails(status, {"error": {"message": "because"}}, {"Retry-After": "9"} if status == 429 else None)
    _, error = await until_error(engine)
    assert type(error) is kind
    assert f"answered {status} (because)" in str(error)
    assert "sk-very-secret" not in str(error)


async def test_a_busy_server_is_asked_again(make: Make, speech_server: Any) -> None:
    speech_server.fails(429, headers={"Retry-After": "0.01"})
    speech_server.fails(502)
    async with make(speech_server, retry_limit_s=5.0) as engine:
        assert len(await speech_of(engine))
    assert len(speech_server.bodies) == 3


@pytest.mark.parametrize("how", ["cancel", "leave"])
async def test_cancelling_closes_the_connection(speech_server: Any, how: str) -> None:
    speech_server.sends(PCM, tone(2400).tobytes(), None)
    async with asyncio.timeout(PATIENCE_S), omni(speech_server) as engine:
        async with engine.speak(TEXT, voice="neutral_female", language="en") as utterance, asyncio.TaskGroup() as tasks:
            await anext(utterance)
            if how == "cancel":
                waiting = tasks.create_task(rest_of(utterance))
                await asyncio.sleep(0)
                utterance.cancel()
                assert await waiting == []
        await speech_server.gone.wait()


async def rest_of(utterance: Any) -> list[SpeechChunk]:
    return [chunk async for chunk in utterance]


async def test_a_held_utterance_holds_the_server_back(speech_server: Any) -> None:
    minute = tone(60 * 24_000).tobytes()
    parts = [minute[at : at + 48_000] for at in range(0, len(minute), 48_000)] * 20
    speech_server.sends(PCM, *parts)  # 57 MB
    async with (
        asyncio.timeout(PATIENCE_S),
        omni(speech_server) as engine,
        engine.speak(TEXT, voice="neutral_female", language="en") as utterance,
    ):
        await anext(utterance)
        utterance.hold()
        for _ in range(5000):  # more than enough to write it all
            await asyncio.sleep(0)
        assert 0 < speech_server.written < 0.5 * len(parts) * len(parts[0])
        utterance.resume()
        for _ in range(50):
            assert (await anext(utterance)).samples.size


async def test_spans_follow_the_pace_of_what_was_spoken_before(speech_server: Any) -> None:
    async with omni(speech_server) as engine:
        for _ in range(20):
            await speech_of(engine)
        async with engine.speak(TEXT, voice="neutral_female", language="en") as utterance:
            ends = [chunk.text_end / len(TEXT) async for chunk in utterance]
    middle = ends[len(ends) // 2]
    assert 0.35 < middle < 0.65
    assert ends[-1] == 1.0


async def test_a_server_that_does_not_list_its_voices_has_the_presets(speech_server: Any) -> None:
    speech_server.voices_status = 404
    async with omni(speech_server) as engine:
        assert engine.voices == PRESETS


async def test_a_server_without_voices_is_of_no_use(make: Make, speech_server: Any) -> None:
    speech_server.names = ()
    with pytest.raises(SynthesisError, match="lists no voices: look at its model"):
        await make(speech_server).__aenter__()


async def test_leaving_while_another_task_reads(speech_server: Any) -> None:
    speech_server.sends(PCM, tone(2400).tobytes(), None)
    async with asyncio.timeout(PATIENCE_S), omni(speech_server) as engine, asyncio.TaskGroup() as tasks:
        async with engine.speak(TEXT, voice="neutral_female", language="en") as utterance:
            await anext(utterance)
            waiting = tasks.create_task(rest_of(utterance))
            await asyncio.sleep(0)
        assert await waiting == []


async def test_voices_that_are_no_names(speech_server: Any) -> None:
    speech_server.names = ({"name": "x"},)
    with pytest.raises(SynthesisError, match="wanted a list of names in `voices`, found none"):
        await omni(speech_server).__aenter__()


async def test_a_refused_key_is_known_at_the_start(make: Make, speech_server: Any) -> None:
    speech_server.voices_status = 401
    with pytest.raises(SynthesisError, match="answered 401"):
        await make(speech_server).__aenter__()


def test_floats_that_are_no_sound_are_silence_or_clipped() -> None:
    values = np.array([0.5, np.nan, np.inf, -np.inf, 7.0, -7.0], "<f4")
    reader = SampleReader(FLOAT32, 24_000)
    assert reader.take(values.tobytes()) == []
    np.testing.assert_array_equal(reader.rest(), np.array([0.5, 0, 0, 0, 1, -1], np.float32))


def test_the_loudest_samples_stay_in_range() -> None:
    reader = SampleReader(PCM16, 24_000)
    frames = reader.take(np.array([-32768, 32767] * 960, "<i2").tobytes())
    assert [len(frame) for frame in frames] == [1920]
    assert np.abs(frames[0]).max() == 1.0


@pytest.mark.filterwarnings("ignore:.*Offset pagination:DeprecationWarning")
async def test_the_test_server_speaks_to_the_vendors_client(speech_server: Any) -> None:
    async with Mistral(api_key="k", server_url=speech_server.url.removesuffix("/v1")) as client:
        voices = await client.audio.voices.list_async(limit=100)
        stream = await client.audio.speech.complete_async(
            input=TEXT, model="m", voice_id=voices.items[0].id, response_format="pcm", stream=True
        )
        async with stream:
            kinds = [event.data.type async for event in stream]
    assert kinds[0] == "speech.audio.delta"
    assert kinds[-1] == "speech.audio.done"
