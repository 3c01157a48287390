"""The recognition engine as its callers see it, over a real step loop."""

import asyncio
import random
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from asr.config import VoxtralRealtimeConfig
from asr.interface import (
    AudioRejected,
    EngineBusy,
    EngineUnreachable,
    Recognition,
    RecognitionError,
    Transcript,
)
from asr.voxtral.engine import VoxtralRecognizer
from asr.voxtral.model import VoxtralRealtime
from asr.voxtral.timing import STEP_SAMPLES
from llm.runtime.loop.step_loop import StepLoop
from tests.fakes import PATIENCE_S
from tests.fakes.listening_bench import Samples, alone

Speech = Callable[[int, int], NDArray[np.float32]]
NOWHERE = Path("/nowhere")


def config(**settings: Any) -> VoxtralRealtimeConfig:
    return VoxtralRealtimeConfig(checkpoint=NOWHERE, device="cpu", dtype="float32", **{"streams": 8, **settings})


@asynccontextmanager
async def engine(model: VoxtralRealtime, **settings: Any) -> AsyncIterator[VoxtralRecognizer]:
    async with StepLoop("test") as loop, VoxtralRecognizer(config(**settings), loop, model) as recognizer:
        yield recognizer


async def until_final(recognition: Recognition) -> list[Transcript]:
    found: list[Transcript] = []
    async with asyncio.timeout(PATIENCE_S):
        async for transcript in recognition:
            found.append(transcript)
            if transcript.is_final:
                break
    return found


def pushed(recognition: Recognition, samples: Samples, sizes: Sequence[int]) -> None:
    start, turn = 0, 0
    while start < len(samples):
        size = sizes[turn % len(sizes)]
        recognition.push(samples[start : start + size])
        start, turn = start + size, turn + 1


@pytest.mark.parametrize("sizes", [[10**6], [320], [1, 1279, 41, 4000]])
async def test_any_push_size_gives_the_same_transcripts(
    tiny_model: VoxtralRealtime, speech: Speech, sizes: Sequence[int]
) -> None:
    samples = speech(25, 3)[:-100]
    expected, _ = alone(tiny_model, samples)
    async with engine(tiny_model) as recognizer, recognizer.listen() as recognition:
        pushed(recognition, samples, sizes)
        recognition.flush()
        transcripts = await until_final(recognition)

    assert transcripts[-1].text == expected
    assert (transcripts[-1].start_samples, transcripts[-1].end_samples) == (0, len(samples))
    texts = [transcript.text for transcript in transcripts]
    assert len(texts) > 2
    assert all(later.startswith(earlier) for earlier, later in pairwise(texts))
    times = [(word.start_samples, word.end_samples) for word in transcripts[-1].words]
    assert all(0 <= start <= end <= len(samples) for start, end in times)


async def test_streams_of_all_delays_together_equal_alone(tiny_model: VoxtralRealtime, speech: Speech) -> None:
    delays = [80, 480, 240, 2400, 960, 480]
    audio = [speech(15 + 3 * index, index) for index in range(len(delays))]

    async def one(recognizer: VoxtralRecognizer, index: int) -> str:
        async with recognizer.listen(delay_ms=delays[index], language="de") as recognition:
            for start in range(0, len(audio[index]), 700 + 100 * index):
                recognition.push(audio[index][start : start + 700 + 100 * index])
                await asyncio.sleep(0)
            recognition.flush()
            return (await until_final(recognition))[-1].text

    async with engine(tiny_model) as recognizer, asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(recognizer, index)) for index in range(len(delays))]
    for task, delay, samples in zip(tasks, delays, audio, strict=True):
        assert task.result() == alone(tiny_model, samples, delay // 80)[0]


async def test_every_flush_is_answered_once_and_the_next_turn_begins_afresh(
    tiny_model: VoxtralRealtime, speech: Speech
) -> None:
    first, second = speech(8, 1), speech(9, 2)
    async with engine(tiny_model) as recognizer, recognizer.listen() as recognition:
        recognition.flush()
        recognition.push(first)
        recognition.flush()
        recognition.flush()
        recognition.push(second)
        recognition.flush()
        finals = [(await until_final(recognition))[-1] for _ in range(4)]
    assert [final.text for final in finals] == ["", alone(tiny_model, first)[0], "", alone(tiny_model, second)[0]]
    assert [final.start_samples for final in finals] == [0, 0, len(first), len(first)]
    assert finals[-1].end_samples == len(first) + len(second)


async def test_ten_thousand_streams_leave_nothing_behind(tiny_model: VoxtralRealtime) -> None:
    rng = random.Random(4)
    block = np.zeros(STEP_SAMPLES, np.float32)
    tasks = asyncio.all_tasks()
    async with engine(tiny_model, streams=6, delay_ms=80) as recognizer:
        stepper = recognizer._running
        free = (stepper._slots.encoder_cache.free_pages, stepper._slots.decoder_cache.free_pages)
        refused = 0

        async def callers(count: int) -> None:
            nonlocal refused
            for _ in range(count):
                try:
                    async with recognizer.listen() as recognition:
                        flushes = 0
                        for _ in range(rng.randrange(3) if rng.random() < 0.1 else 0):
                            recognition.push(block[: rng.randrange(STEP_SAMPLES)])
                            if rng.random() < 0.5:
                                recognition.flush()
                                flushes += 1
                        if flushes and rng.random() < 0.2:
                            await until_final(recognition)
                        if rng.random() < 0.1:
                            raise ConnectionError
                except EngineBusy:
                    refused += 1
                except ConnectionError:
                    continue

        async with asyncio.timeout(PATIENCE_S * 4), asyncio.TaskGroup() as group:
            for _ in range(8):
                group.create_task(callers(1250))
        await recognizer._loop.run(stepper._settle)
        assert refused
        assert stepper._requests == {}
        assert sorted(stepper._free) == list(range(6))
        assert (stepper._slots.encoder_cache.free_pages, stepper._slots.decoder_cache.free_pages) == free
    assert asyncio.all_tasks() == tasks
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("step-loop")]


async def test_the_stream_over_the_limit_is_refused_until_one_leaves(tiny_model: VoxtralRealtime) -> None:
    async with engine(tiny_model, streams=1) as recognizer:
        async with recognizer.listen():
            with pytest.raises(EngineBusy, match="all 1 streams"):
                await recognizer.listen().__aenter__()
        async with recognizer.listen():
            pass


@pytest.mark.parametrize(
    ("samples", "complaint"),
    [
        (np.zeros(10, np.int16), "int16"),
        (np.zeros((10, 2), np.float32), r"\(10, 2\)"),
        (np.array([0.0, np.nan], np.float32), "NaN"),
        (np.array([np.inf], np.float32), "NaN or infinity"),
        (np.array([3000.0], np.float32), "divide 16-bit samples"),
    ],
)
async def test_bad_audio_is_refused_and_the_stream_goes_on(
    tiny_model: VoxtralRealtime, speech: Speech, samples: Any, complaint: str
) -> None:
    good = speech(6, 1)
    async with engine(tiny_model) as recognizer, recognizer.listen() as recognition:
        recognition.push(good)
        with pytest.raises(AudioRejected, match=complaint):
            recognition.push(samples)
        recognition.flush()
        assert (await until_final(recognition))[-1].text == alone(tiny_model, good)[0]


async def test_a_failing_step_ends_its_streams_and_new_ones_may_come(
    tiny_model: VoxtralRealtime, speech: Speech, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with engine(tiny_model) as recognizer:
        with monkeypatch.context() as patch:
            patch.setattr(tiny_model.decoder, "logits", lambda hidden: 1 / 0)
            async with recognizer.listen() as recognition:
                recognition.push(speech(6, 1))
                with pytest.raises(RecognitionError, match="division"):
                    await until_final(recognition)
        async with recognizer.listen() as recognition:
            recognition.push(speech(6, 1))
            recognition.flush()
            assert (await until_final(recognition))[-1].text == alone(tiny_model, speech(6, 1))[0]


async def test_a_stream_that_falls_too_far_behind_ends(tiny_model: VoxtralRealtime) -> None:
    async with engine(tiny_model, backlog_s=1.0) as recognizer, recognizer.listen() as recognition:
        recognition.push(np.zeros(60 * STEP_SAMPLES, np.float32))
        with pytest.raises(EngineBusy, match="behind"):
            await until_final(recognition)
        recognition.push(np.zeros(STEP_SAMPLES, np.float32))
        recognition.flush()


async def test_stopping_the_engine_ends_its_streams(tiny_model: VoxtralRealtime) -> None:
    async with StepLoop("test") as loop:
        recognizer = VoxtralRecognizer(config(), loop, tiny_model)
        with pytest.raises(EngineUnreachable, match="not started"):
            await recognizer.listen().__aenter__()
        async with recognizer:
            recognition = await recognizer.listen().__aenter__()
        with pytest.raises(EngineUnreachable, match="stopped"):
            await until_final(recognition)
        assert await recognition.__aexit__(None, None, None) is None
        with pytest.raises(StopAsyncIteration):
            await recognition.__anext__()


async def test_an_engine_that_does_nothing_is_unreachable(tiny_model: VoxtralRealtime, speech: Speech) -> None:
    release = threading.Event()
    async with (
        engine(tiny_model, stall_timeout_s=0.2) as recognizer,
        recognizer.listen() as recognition,
        asyncio.TaskGroup() as group,
    ):
        group.create_task(recognizer._loop.run(lambda: release.wait(PATIENCE_S)))
        recognition.push(speech(6, 1))
        with pytest.raises(EngineUnreachable, match="did nothing"):
            await until_final(recognition)
        release.set()


def test_an_unknown_delay_is_refused() -> None:
    with pytest.raises(ValueError, match="multiple of 80"):
        config(delay_ms=100)
