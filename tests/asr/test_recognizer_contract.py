"""What `asr.interface` promises, proved for every engine. What is understood is each engine's own matter."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import SecretStr

from asr.config import MistralRealtimeConfig, SphinxConfig, VllmRealtimeConfig, VoxtralRealtimeConfig
from asr.interface import (
    SAMPLE_RATE_HZ,
    AudioRejected,
    EngineBusy,
    EngineUnreachable,
    Recognition,
    RecognitionError,
    Recognizer,
    Transcript,
)
from asr.remote.engine import RemoteRecognizer
from asr.remote.mistral import MistralRealtime
from asr.remote.vllm import VllmRealtime
from asr.sphinx.engine import SphinxRecognizer
from asr.voxtral.engine import VoxtralRecognizer
from asr.voxtral.model import VoxtralRealtime
from llm.runtime.loop.step_loop import StepLoop
from tests.fakes import PATIENCE_S

STREAMS = 3


def sphinx() -> AbstractAsyncContextManager[Recognizer]:
    return SphinxRecognizer(SphinxConfig(streams=STREAMS), ("one two three", "hello", "stop"))


@asynccontextmanager
async def voxtral(model: VoxtralRealtime) -> AsyncIterator[Recognizer]:
    config = VoxtralRealtimeConfig(checkpoint=Path("given"), device="cpu", dtype="float32", streams=STREAMS)
    async with StepLoop("test") as loop, VoxtralRecognizer(config, loop, model) as recognizer:
        yield recognizer


def vllm(server: Any) -> AbstractAsyncContextManager[Recognizer]:
    config = VllmRealtimeConfig(base_url=server.url, streams=STREAMS)
    return RemoteRecognizer(config, VllmRealtime(config))


def mistral(server: Any) -> AbstractAsyncContextManager[Recognizer]:
    config = MistralRealtimeConfig(base_url=server.url, streams=STREAMS)
    return RemoteRecognizer(config, MistralRealtime(config), SecretStr("a-key"))


Open = Callable[[], AbstractAsyncContextManager[Recognizer]]


@pytest.fixture(params=[sphinx, voxtral, vllm, mistral], ids=lambda engine: engine.__name__)
def open_engine(request: pytest.FixtureRequest, realtime_server: Any) -> Open:
    if request.param is voxtral:
        return partial(voxtral, request.getfixturevalue("tiny_model"))
    return request.param if request.param is sphinx else partial(request.param, realtime_server)


@pytest.fixture
async def engine(open_engine: Open) -> AsyncIterator[Recognizer]:
    async with open_engine() as engine:
        yield engine


@pytest.fixture(scope="module")
def voice() -> NDArray[np.float32]:
    """A second of something like a vowel, in bursts."""
    time = np.arange(SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    buzz = sum(np.sin(2 * np.pi * 120 * harmonic * time) / harmonic for harmonic in range(1, 20))
    return (0.1 * buzz * (np.sin(2 * np.pi * 3 * time) > 0)).astype(np.float32)


async def until_final(stream: Recognition) -> list[Transcript]:
    transcripts: list[Transcript] = []
    async with asyncio.timeout(PATIENCE_S):
        async for transcript in stream:
            transcripts.append(transcript)
            if transcript.is_final:
                break
    return transcripts


def push(stream: Recognition, samples: NDArray[np.float32], chunk: int) -> None:
    for start in range(0, len(samples), chunk):
        stream.push(samples[start : start + chunk])


async def test_every_flush_is_answered_by_one_final(engine: Recognizer, voice: NDArray[np.float32]) -> None:
    async with engine.listen() as stream:
        for _ in range(3):
            push(stream, voice, 320)
            stream.flush()
        finals = [(await until_final(stream))[-1] for _ in range(3)]
        assert [final.end_samples for final in finals] == [len(voice), 2 * len(voice), 3 * len(voice)]
        stream.flush()
        assert (await until_final(stream))[-1].text == ""


async def test_nothing_said_is_an_empty_final(engine: Recognizer) -> None:
    async with engine.listen() as stream:
        stream.flush()
        assert await until_final(stream) == [Transcript("", is_final=True, start_samples=0, end_samples=0)]


async def test_positions_lie_in_the_pushed_audio_and_words_in_their_transcript(
    engine: Recognizer, voice: NDArray[np.float32]
) -> None:
    async with engine.listen(language="en") as stream:
        position = 0
        for _ in range(2):
            push(stream, voice, 1000)
            stream.flush()
            for transcript in await until_final(stream):
                assert position <= transcript.start_samples <= transcript.end_samples <= position + len(voice)
                edges = [edge for word in transcript.words for edge in (word.start_samples, word.end_samples)]
                assert edges == sorted(edges)
                assert all(transcript.start_samples <= edge <= transcript.end_samples for edge in edges)
                assert transcript.confidence is None or 0.0 <= transcript.confidence <= 1.0
            position += len(voice)


async def finals_of(engine: Recognizer, samples: NDArray[np.float32], chunk: int) -> tuple[str, int]:
    async with engine.listen() as stream:
        push(stream, samples, chunk)
        stream.flush()
        final = (await until_final(stream))[-1]
        return final.text, final.end_samples


@pytest.mark.parametrize("chunk", [37, 320, 16_000])
async def test_the_size_of_the_chunks_changes_nothing(
    engine: Recognizer, voice: NDArray[np.float32], chunk: int
) -> None:
    assert await finals_of(engine, voice, chunk) == await finals_of(engine, voice, 160)


async def test_streams_do_not_mix(engine: Recognizer, voice: NDArray[np.float32]) -> None:
    alone = [await finals_of(engine, voice[:length], 320) for length in (16_000, 9_000)]
    async with asyncio.TaskGroup() as tasks:
        together = [tasks.create_task(finals_of(engine, voice[:length], 320)) for length in (16_000, 9_000)]
    assert [task.result() for task in together] == alone


@pytest.mark.parametrize(
    "samples",
    [
        np.zeros(160, np.float64),
        np.zeros(160, np.int16),
        np.zeros((160, 2), np.float32),
        np.full(160, np.nan, np.float32),
        np.full(160, np.inf, np.float32),
    ],
    ids=["float64", "int16", "stereo", "NaN", "infinity"],
)
async def test_wrong_audio_is_rejected_and_the_stream_lives(engine: Recognizer, samples: NDArray[np.float32]) -> None:
    async with engine.listen() as stream:
        with pytest.raises(AudioRejected, match="wanted"):
            stream.push(samples)
        stream.push(np.zeros(0, np.float32))
        stream.flush()
        assert (await until_final(stream))[-1].is_final


async def test_beyond_the_slots_is_busy_and_leaving_frees_them(engine: Recognizer, voice: NDArray[np.float32]) -> None:
    for _ in range(2):
        async with engine.listen() as first, engine.listen(), engine.listen():
            push(first, voice, 320)  # left with work in flight
            with pytest.raises(EngineBusy):
                await engine.listen().__aenter__()


async def test_leaving_ends_whoever_waits(engine: Recognizer) -> None:
    async with asyncio.TaskGroup() as tasks:
        async with engine.listen() as stream:
            waiting = tasks.create_task(until_final(stream))
            await asyncio.sleep(0)
        assert await waiting == []


async def test_a_stopped_engine_is_unreachable(open_engine: Open, voice: NDArray[np.float32]) -> None:
    async with open_engine() as engine:
        stream = await engine.listen().__aenter__()
        push(stream, voice, 320)
    with pytest.raises(EngineUnreachable):
        await until_final(stream)
    stream.push(voice)
    stream.flush()
    await stream.__aexit__(None, None, None)
    with pytest.raises(RecognitionError):
        await engine.listen().__aenter__()
