"""What `tts.interface` promises, proved for every engine."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import SecretStr

from llm.runtime.loop.step_loop import StepLoop
from tests.fakes import PATIENCE_S
from tts.config import EspeakConfig, MistralSpeechConfig, OmniSpeechConfig, VoxtralTTSConfig
from tts.espeak.engine import EspeakSynthesizer
from tts.interface import (
    EngineUnreachable,
    LanguageNotSupported,
    SpeechChunk,
    Synthesizer,
    TextRejected,
    Utterance,
    VoiceNotFound,
)
from tts.remote.engine import RemoteSynthesizer
from tts.remote.mistral import MistralSpeech
from tts.remote.omni import OmniSpeech
from tts.voxtral.engine import VoxtralSynthesizer

TEXT = "The fox, aged 12, jumps."


def espeak() -> AbstractAsyncContextManager[Synthesizer]:
    return EspeakSynthesizer(EspeakConfig(utterances=4))


@asynccontextmanager
async def voxtral() -> AsyncIterator[Synthesizer]:
    torch.set_num_threads(1)
    config = VoxtralTTSConfig.model_validate(
        {
            "checkpoint": Path(__file__).parent.parent / "data" / "voxtral-tts",
            "device": "cpu",
            "dtype": "float32",
            "slots": 4,
            "seed": 7,
            "max_seconds": 0.8,
        }
    )
    async with StepLoop("contract") as loop, VoxtralSynthesizer(config, loop) as engine:
        yield engine


def omni_raw(server: Any) -> AbstractAsyncContextManager[Synthesizer]:
    config = OmniSpeechConfig(base_url=server.url)
    return RemoteSynthesizer(config, OmniSpeech(config))


def omni_events(server: Any) -> AbstractAsyncContextManager[Synthesizer]:
    config = OmniSpeechConfig(base_url=server.url, transfer="events")
    return RemoteSynthesizer(config, OmniSpeech(config))


def mistral(server: Any) -> AbstractAsyncContextManager[Synthesizer]:
    config = MistralSpeechConfig(base_url=server.url)
    return RemoteSynthesizer(config, MistralSpeech(config), SecretStr("a-key"))


Open = Callable[[], AbstractAsyncContextManager[Synthesizer]]


@pytest.fixture(params=[espeak, voxtral, omni_raw, omni_events, mistral], ids=lambda engine: engine.__name__)
def open_engine(request: pytest.FixtureRequest, speech_server: Any) -> Open:
    is_local = request.param in (espeak, voxtral)
    return request.param if is_local else lambda: request.param(speech_server)


@pytest.fixture
async def engine(open_engine: Open) -> AsyncIterator[Synthesizer]:
    async with open_engine() as engine:
        yield engine


def speak(engine: Synthesizer, text: str = TEXT) -> Utterance:
    return engine.speak(text, voice=engine.voices[0].name, language="en")


async def chunks_of(utterance: Utterance) -> list[SpeechChunk]:
    async with utterance:
        return [chunk async for chunk in utterance]


def joined(chunks: list[SpeechChunk]) -> np.ndarray:
    return np.concatenate([chunk.samples for chunk in chunks])


async def test_voices_have_names_of_their_own(engine: Synthesizer) -> None:
    names = [voice.name for voice in engine.voices]
    assert len(set(names)) == len(names) > 1
    assert {voice.language for voice in engine.voices} >= {"en", "fr"}


async def test_chunks_are_samples_and_their_spans_make_the_text(engine: Synthesizer) -> None:
    chunks = await chunks_of(speak(engine))
    for chunk in chunks:
        assert chunk.samples.dtype == np.float32
        assert chunk.samples.ndim == 1
        assert np.abs(chunk.samples).max(initial=0.0) <= 1.0
        assert len(chunk.samples) <= 0.1 * engine.sample_rate_hz
        assert chunk.text_start <= chunk.text_end
    assert [0, *(chunk.text_end for chunk in chunks)] == [*(chunk.text_start for chunk in chunks), len(TEXT)]
    assert np.abs(joined(chunks)).max() > 0.001


async def test_held_then_resumed_speaks_the_same_samples(engine: Synthesizer) -> None:
    plain = joined(await chunks_of(speak(engine)))
    chunks: list[SpeechChunk] = []
    async with speak(engine) as utterance:
        async for chunk in utterance:
            chunks.append(chunk)
            utterance.hold()
            utterance.hold()
            await asyncio.sleep(0)
            utterance.resume()
            utterance.resume()
    np.testing.assert_array_equal(joined(chunks), plain)


async def test_held_delivers_nothing(engine: Synthesizer) -> None:
    async with speak(engine) as utterance, asyncio.TaskGroup() as tasks:
        await anext(utterance)
        utterance.hold()
        waiting = tasks.create_task(anext(utterance))
        for _ in range(50):
            await asyncio.sleep(0)
        assert not waiting.done()
        utterance.resume()
        assert (await waiting).samples.size


async def test_cancelled_delivers_nothing_more(engine: Synthesizer) -> None:
    async with speak(engine) as utterance:
        await anext(utterance)
        utterance.cancel()
        utterance.cancel()
        assert [chunk async for chunk in utterance] == []


async def test_cancelled_before_it_is_entered_speaks_nothing(engine: Synthesizer) -> None:
    utterance = speak(engine)
    utterance.cancel()
    assert await chunks_of(utterance) == []


async def test_cancelled_while_held_ends(engine: Synthesizer) -> None:
    async with speak(engine) as utterance, asyncio.TaskGroup() as tasks:
        await anext(utterance)
        utterance.hold()
        rest = tasks.create_task(rest_of(utterance))
        await asyncio.sleep(0)
        utterance.cancel()
        assert await asyncio.wait_for(rest, PATIENCE_S) == []


async def rest_of(utterance: Utterance) -> list[SpeechChunk]:
    return [chunk async for chunk in utterance]


async def test_together_equals_alone_and_cancelling_one_leaves_the_others(engine: Synthesizer) -> None:
    texts = ("One.", TEXT, "And a third.")
    alone = [joined(await chunks_of(speak(engine, text))) for text in texts]
    async with speak(engine) as cancelled, asyncio.TaskGroup() as tasks:
        together = [tasks.create_task(chunks_of(speak(engine, text))) for text in texts]
        await anext(cancelled)
        cancelled.cancel()
    for speech, expected in zip(together, alone, strict=True):
        np.testing.assert_allclose(joined(speech.result()), expected, atol=2e-5)


async def test_leaving_early_frees_what_was_taken(engine: Synthesizer) -> None:
    await chunks_of(speak(engine))
    tasks = asyncio.all_tasks()
    for _ in range(10):  # more than there are slots
        async with speak(engine) as utterance:
            await anext(utterance)
    left = asyncio.all_tasks() - tasks
    assert not [task for task in left if "RequestHandler" not in repr(task)]  # of the test's own server


async def test_a_stopped_engine_is_unreachable(open_engine: Open) -> None:
    async with open_engine() as engine:
        pass
    with pytest.raises(EngineUnreachable):
        await chunks_of(speak(engine))


async def test_what_cannot_be_spoken_is_refused_at_once(engine: Synthesizer) -> None:
    name = engine.voices[0].name
    with pytest.raises(VoiceNotFound, match=name):
        engine.speak(TEXT, voice=f"{name}e", language="en")
    with pytest.raises(LanguageNotSupported, match="'xx'"):
        engine.speak(TEXT, voice=name, language="xx")
    with pytest.raises(TextRejected, match="empty"):
        engine.speak(" \n ", voice=name, language="en")
    with pytest.raises(TextRejected, match="100000 characters"):
        engine.speak("a" * 100_000, voice=name, language="en")
