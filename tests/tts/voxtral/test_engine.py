"""The speech engine whole, on its thread: what the interface promises."""

import asyncio
import threading
from collections.abc import AsyncIterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from llm.runtime.loop.step_loop import StepLoop
from llm.runtime.weights.checkpoint import CheckpointIncomplete, NotEnoughMemory
from tests.fakes.speech_bench import config
from tts.interface import (
    EngineBusy,
    EngineUnreachable,
    LanguageNotSupported,
    SpeechChunk,
    TextRejected,
    Utterance,
    VoiceNotFound,
)
from tts.voxtral.engine import VoxtralSynthesizer
from tts.voxtral.model import VoxtralTTS

FRAME_SAMPLES = 1920
TEXT = "the quick brown fox"


@pytest.fixture
async def engine(model: VoxtralTTS, loop: StepLoop) -> AsyncIterator[VoxtralSynthesizer]:
    async with VoxtralSynthesizer(config(), loop, model) as engine:
        yield engine


def speak(engine: VoxtralSynthesizer, text: str = TEXT) -> Utterance:
    return engine.speak(text, voice="casual_male", language="en")


async def chunks_of(utterance: Utterance) -> list[SpeechChunk]:
    async with utterance:
        return [chunk async for chunk in utterance]


def joined(chunks: list[SpeechChunk]) -> np.ndarray:
    return np.concatenate([chunk.samples for chunk in chunks])


async def test_speaks_chunks_whose_spans_join_and_end_with_the_text(engine: VoxtralSynthesizer) -> None:
    chunks = await chunks_of(speak(engine))
    assert engine.sample_rate_hz == 24000
    assert [len(chunk.samples) for chunk in chunks] == [1680, *[FRAME_SAMPLES] * 9, 240]
    assert all(chunk.samples.dtype == np.float32 for chunk in chunks)
    edges = [0, *(chunk.text_end for chunk in chunks)]
    assert edges[:-1] == [chunk.text_start for chunk in chunks]
    assert edges == sorted(edges)
    assert edges[-1] == len(TEXT)


async def test_the_checkpoint_is_loaded_from_its_folder(engine: VoxtralSynthesizer) -> None:
    async with StepLoop("own") as loop, VoxtralSynthesizer(config(warm_voices=("casual_male",)), loop) as loaded:
        assert [voice.name for voice in loaded.voices] == ["casual_female", "casual_male", "fr_female"]
        np.testing.assert_allclose(
            joined(await chunks_of(speak(loaded))), joined(await chunks_of(speak(engine))), atol=2e-5
        )


@pytest.mark.skipif(find_spec("torchao") is None, reason="torchao is not installed")
@pytest.mark.filterwarnings("ignore")  # torchao warns of what it lacks when it is imported
async def test_eight_bit_weights_speak_nearly_the_same(engine: VoxtralSynthesizer, loop: StepLoop) -> None:
    plain = joined(await chunks_of(speak(engine)))
    async with VoxtralSynthesizer(config(quantization="int8"), loop) as small:
        near = joined(await chunks_of(speak(small)))
    assert near.shape == plain.shape
    assert 0 < np.abs(near[:FRAME_SAMPLES] - plain[:FRAME_SAMPLES]).mean() < 0.1 * np.abs(plain).mean()


async def test_the_first_chunk_leaves_after_one_frame(engine: VoxtralSynthesizer) -> None:
    async with speak(engine) as utterance:
        await anext(utterance)
        assert engine.counters.frames <= 1 + 2  # the lead goes on while we look


async def test_held_then_resumed_speaks_the_same_samples(engine: VoxtralSynthesizer) -> None:
    plain = joined(await chunks_of(speak(engine)))
    chunks: list[SpeechChunk] = []
    async with speak(engine) as utterance:
        async for chunk in utterance:
            chunks.append(chunk)
            utterance.hold()
            utterance.hold()
            await asyncio.sleep(0.002)
            utterance.resume()
    np.testing.assert_array_equal(joined(chunks), plain)


async def test_held_delivers_nothing_and_launches_nothing(engine: VoxtralSynthesizer, loop: StepLoop) -> None:
    async with speak(engine) as utterance:
        await anext(utterance)
        utterance.hold()
        await loop.run(lambda: None)  # the step in progress is over
        launched = engine.counters.euler_steps
        waiting = asyncio.ensure_future(anext(utterance))
        for _ in range(20):
            await loop.run(lambda: None)
        assert not waiting.done()
        assert engine.counters.euler_steps == launched
        utterance.resume()
        assert len((await waiting).samples) == FRAME_SAMPLES


async def test_held_before_it_is_entered_does_not_begin(engine: VoxtralSynthesizer, loop: StepLoop) -> None:
    utterance = speak(engine)
    utterance.hold()
    async with utterance:
        for _ in range(20):
            await loop.run(lambda: None)
        assert engine.counters.prefills == 1
        assert engine.counters.euler_steps == 0
        utterance.resume()
        assert len((await anext(utterance)).samples)


async def test_cancelled_delivers_nothing_more_and_frees_its_slot(model: VoxtralTTS, loop: StepLoop) -> None:
    async with VoxtralSynthesizer(config(slots=1), loop, model) as engine, speak(engine) as utterance:
        await anext(utterance)
        with pytest.raises(EngineBusy, match="all 1 slots"):
            await chunks_of(speak(engine))
        utterance.cancel()
        utterance.cancel()
        assert [chunk async for chunk in utterance] == []
        assert len(await chunks_of(speak(engine))) == 11


async def test_cancelling_launches_no_further_euler_step(engine: VoxtralSynthesizer, loop: StepLoop) -> None:
    async with speak(engine) as utterance:
        await anext(utterance)
        utterance.cancel()
        await loop.run(lambda: None)
        launched = engine.counters.euler_steps
        for _ in range(20):
            await loop.run(lambda: None)
        assert engine.counters.euler_steps == launched


async def test_cancelled_before_it_is_entered_speaks_nothing(engine: VoxtralSynthesizer) -> None:
    utterance = speak(engine)
    utterance.cancel()
    assert await chunks_of(utterance) == []
    assert engine.counters.prefills == 0


async def test_leaving_the_context_cancels(engine: VoxtralSynthesizer, loop: StepLoop) -> None:
    async with speak(engine) as utterance:
        await anext(utterance)
    with pytest.raises(StopAsyncIteration):
        await anext(utterance)
    await loop.run(lambda: None)
    async with asyncio.TaskGroup() as tasks:
        for _ in range(4):
            tasks.create_task(chunks_of(speak(engine)))


async def test_one_failing_step_is_heard_by_all_and_forgotten(
    engine: VoxtralSynthesizer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    plain = joined(await chunks_of(speak(engine)))
    async with speak(engine) as utterance:
        await anext(utterance)
        with monkeypatch.context() as patched:
            patched.setattr("tts.voxtral.stepper.SpeechStepper._synthesize", broken)
            with pytest.raises(Exception, match="the speech engine failed"):
                [chunk async for chunk in utterance]
    assert "a step of SpeechStepper failed" in caplog.text
    np.testing.assert_array_equal(joined(await chunks_of(speak(engine))), plain)


def broken(*_: object) -> None:
    raise RuntimeError("device lost")


async def test_stopping_the_engine_ends_its_utterances(model: VoxtralTTS, loop: StepLoop) -> None:
    async with VoxtralSynthesizer(config(), loop, model) as engine:
        utterance = await speak(engine).__aenter__()
        await anext(utterance)
    with pytest.raises(EngineUnreachable, match="stopped"):
        [chunk async for chunk in utterance]
    with pytest.raises(EngineUnreachable, match="not started"):
        speak(engine)


async def test_a_stalled_engine_counts_as_unreachable(model: VoxtralTTS, loop: StepLoop) -> None:
    release = threading.Event()
    async with VoxtralSynthesizer(config(stall_timeout_s=0.05), loop, model) as engine, asyncio.TaskGroup() as tasks:
        tasks.create_task(loop.run(lambda: release.wait(5.0)))
        await asyncio.sleep(0)
        with pytest.raises(EngineUnreachable, match=r"did nothing for 0\.05 s"):
            await chunks_of(speak(engine))
        release.set()


@pytest.mark.parametrize(
    ("text", "voice", "language", "error", "message"),
    [
        (TEXT, "casual_mail", "en", VoiceNotFound, "casual_male"),
        (TEXT, "me.wav", "en", VoiceNotFound, "cannot be cloned with the released weights"),
        (TEXT, "casual_male", "ja", LanguageNotSupported, "'ja'"),
        (" \n", "casual_male", "en", TextRejected, "empty"),
        ("x" * 3000, "casual_male", "en", TextRejected, "3000 characters, at most 2000"),
    ],
)
async def test_what_cannot_be_spoken_is_refused_at_once(
    engine: VoxtralSynthesizer, text: str, voice: str, language: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        engine.speak(text, voice=voice, language=language)


async def test_a_regional_language_is_its_language(engine: VoxtralSynthesizer) -> None:
    assert await chunks_of(engine.speak(TEXT, voice="CASUAL_MALE", language="pt-BR"))


async def test_a_missing_checkpoint_is_named(loop: StepLoop, tmp_path: Path) -> None:
    with pytest.raises(CheckpointIncomplete, match="nowhere"):
        await VoxtralSynthesizer(config(checkpoint=tmp_path / "nowhere"), loop).__aenter__()


async def test_too_little_memory_for_the_cache_is_named_with_what_it_takes(model: VoxtralTTS, loop: StepLoop) -> None:
    with pytest.raises(NotEnoughMemory, match=r"keys and values of \d+ tokens need \d+\.\d GB on cpu"):
        await VoxtralSynthesizer(config(slots=1024, cache_tokens_per_slot=10**8), loop, model).__aenter__()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
async def test_a_missing_device_is_named(loop: StepLoop) -> None:
    with pytest.raises(EngineUnreachable, match="no cuda device"):
        await VoxtralSynthesizer(config(device="cuda"), loop).__aenter__()
