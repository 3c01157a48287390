"""The gate before the recognizer: what it hears, when it is flushed, and what a failing one costs."""

import asyncio
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Self

import numpy as np
import pytest
from numpy.typing import NDArray
from pipecat.frames.frames import Frame, VADUserStartedSpeakingFrame, VADUserStoppedSpeakingFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.workers.runner import WorkerRunner

from asr.interface import EngineUnreachable, Transcript
from pipelines.events import CallEvents
from pipelines.frames import CallerAudioFrame, TranscriptFrame
from pipelines.listening.recognition import PRE_ROLL_FRAMES, RecognitionService

FRAME_SAMPLES = 320


class Listener:
    """A recognition stream that notes what it is given; one final for each flush."""

    def __init__(self, *, fails: bool) -> None:
        self.heard: list[int] = []
        self.flushes = 0
        self._transcripts: asyncio.Queue[Transcript] = asyncio.Queue()
        self._fails = fails

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Transcript:
        transcript = await self._transcripts.get()
        if self._fails:
            raise EngineUnreachable("gone")
        return transcript

    def push(self, samples: NDArray[np.float32]) -> None:
        self.heard.append(round(float(samples[0]) * 32768))

    def flush(self) -> None:
        self.flushes += 1
        self._transcripts.put_nowait(Transcript(f"turn {self.flushes}", is_final=True, start_samples=0, end_samples=0))


class Listeners:
    def __init__(self, *, fails: bool = False) -> None:
        self.streams: list[Listener] = []
        self._fails = fails

    def listen(self, *, language: str | None = None) -> Listener:
        self.streams.append(Listener(fails=self._fails))
        return self.streams[-1]


class Sink(FrameProcessor):
    def __init__(self) -> None:
        super().__init__()
        self.frames: list[Frame] = []

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        self.frames.append(frame)
        await self.push_frame(frame, direction)

    def transcripts(self) -> list[str]:
        return [frame.transcript.text for frame in self.frames if isinstance(frame, TranscriptFrame)]


class Bench:
    def __init__(self, listeners: Listeners) -> None:
        self.listeners = listeners
        self.sink = Sink()
        self.worker = PipelineWorker(
            Pipeline([RecognitionService(listeners, language="en", events=CallEvents([])), self.sink]),
            enable_rtvi=False,
            enable_turn_tracking=False,
            idle_timeout_secs=None,
        )
        self._number = 0

    async def audio(self, frames: int) -> None:
        for _ in range(frames):
            self._number += 1
            pcm = np.full(FRAME_SAMPLES, self._number, np.int16).tobytes()
            await self.push(CallerAudioFrame(pcm, 16_000, 1))

    async def push(self, frame: Frame) -> None:
        await self.worker.queue_frame(frame)
        for _ in range(50):
            await asyncio.sleep(0)


@pytest.fixture
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    bench = Bench(Listeners(fails=getattr(request, "param", False)))
    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(bench.worker)
    async with asyncio.TaskGroup() as group:
        group.create_task(runner.run())
        for _ in range(200):
            await asyncio.sleep(0)
        try:
            yield bench
        finally:
            await runner.cancel()


async def test_silence_costs_nothing_and_speech_comes_with_what_went_before(bench: Bench) -> None:
    await bench.audio(100)
    stream = bench.listeners.streams[0]
    assert stream.heard == []
    await bench.push(VADUserStartedSpeakingFrame())
    await bench.audio(3)
    assert stream.heard == list(range(101 - PRE_ROLL_FRAMES, 104))


async def test_every_pause_is_flushed_and_closes_the_gate(bench: Bench) -> None:
    for turn in (1, 2):
        await bench.push(VADUserStartedSpeakingFrame())
        await bench.audio(2)
        await bench.push(VADUserStoppedSpeakingFrame())
        assert bench.listeners.streams[0].flushes == turn
        heard = len(bench.listeners.streams[0].heard)
        await bench.audio(5)
        assert len(bench.listeners.streams[0].heard) == heard
    assert bench.sink.transcripts() == ["turn 1", "turn 2"]


async def test_audio_goes_no_further(bench: Bench) -> None:
    await bench.audio(5)
    assert not any(isinstance(frame, CallerAudioFrame) for frame in bench.sink.frames)


@pytest.mark.parametrize("bench", [True], indirect=True)
async def test_a_failing_engine_answers_with_nothing_and_is_reopened(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.listening.recognition.RETRY_SECONDS", 0.0)
    await bench.push(VADUserStartedSpeakingFrame())
    await bench.push(VADUserStoppedSpeakingFrame())
    assert bench.sink.transcripts() == [""]
    assert len(bench.listeners.streams) == 2
