"""The lower half of a call without network, weights or clock: the test hands out packets and voice windows."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, Self

import numpy as np
import pytest
from numpy.typing import NDArray
from pipecat.frames.frames import Frame, TranscriptionFrame, VADUserStartedSpeakingFrame, VADUserStoppedSpeakingFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.workers.runner import WorkerRunner

from asr.interface import Transcript
from llm.interface import LanguageModelError, Message, TextDelta, Tool, ToolCall
from pipelines.activity import AgentActivity
from pipelines.agent_control import AgentControl
from pipelines.config import AgentConfig, CallConfig
from pipelines.events import CallEvents, Event, to_json
from pipelines.frames import TranscriptFrame, VadWindowFrame
from pipelines.listening.vad import RecentAudio
from pipelines.replying.conversation import Conversation
from pipelines.replying.reply import ReplyService
from pipelines.replying.tool_runs import CallTool
from pipelines.speaking.speech import SpeechService
from pipelines.transport import CallOutput
from pipelines.turn_processor import TurnTaking
from pipelines.turn_taking.inputs import WINDOW_MS, Window
from pipelines.turn_taking.machine import TurnMachine
from tts.interface import SpeechChunk, Voice
from webrtc.media.speech_queue import SpeechQueue

RATE_HZ = 24_000
PACKET_SAMPLES = 480
CHUNK_SAMPLES = 1920  # 80 ms
CHUNKS_PER_WORD = 4
SILENT = AgentConfig(greeting="")


class ManualPlayout:
    """webrtc's playout with its real queue; the test is its clock."""

    def __init__(self) -> None:
        self._queue = SpeechQueue(capacity_samples=30 * RATE_HZ, sample_rate_hz=RATE_HZ)
        self._advanced = asyncio.Event()
        self.played: list[NDArray[np.float32]] = []

    position_samples = property(lambda self: self._queue.position_samples)
    written_samples = property(lambda self: self._queue.written_samples)
    lead_samples = property(lambda self: self._queue.waiting_samples)
    underruns = property(lambda self: self._queue.underruns)

    def write(self, samples: NDArray[np.float32]) -> int:
        return self._queue.write(samples)

    def finish(self) -> None:
        self._queue.finish()

    def duck(self, gain_db: float, ramp_ms: float) -> None:
        self._queue.set_gain(10 ** (gain_db / 20), ramp_ms=ramp_ms)

    def mute(self, ramp_ms: float) -> None:
        self._queue.mute(ramp_ms=ramp_ms)

    def resume(self, ramp_ms: float) -> None:
        self._queue.set_gain(1.0, ramp_ms=ramp_ms)

    def cut(self, fade_ms: float) -> int:
        return self._queue.cut(fade_ms=fade_ms)

    async def wait_advanced(self) -> int:
        await self._advanced.wait()
        return self.position_samples

    def tick(self) -> NDArray[np.float32]:
        """Hand the next packet to the sender."""
        packet = self._queue.pop(PACKET_SAMPLES)
        self.played.append(packet)
        self._advanced.set()
        self._advanced = asyncio.Event()
        return packet


class LocalCall:
    """The parts of webrtc's call that the output half uses."""

    id = "test"

    def __init__(self) -> None:
        self.playout = ManualPlayout()


class RampUtterance:
    """80 ms chunks whose samples count up through the whole synthesiser, so that loss and repetition show."""

    def __init__(self, owner: "RampSynthesizer", text: str) -> None:
        self._owner = owner
        self._chunks = owner.render(text)
        self._next = 0
        self._may_go = asyncio.Event()
        self._may_go.set()
        self.is_cancelled = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cancel()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SpeechChunk:
        await self._may_go.wait()
        if self.is_cancelled or self._next == len(self._chunks):
            raise StopAsyncIteration
        self._next += 1
        self._owner.chunks_made += 1
        return self._chunks[self._next - 1]

    def hold(self) -> None:
        self._may_go.clear()

    def resume(self) -> None:
        self._may_go.set()

    def cancel(self) -> None:
        self.is_cancelled = True
        self._may_go.set()


class RampSynthesizer:
    """Every word takes 320 ms; sample k of everything ever rendered is k / 2^15."""

    sample_rate_hz = RATE_HZ
    voices = (Voice("test", "en"), Voice("essai", "fr"), Voice("essayeur", "fr"))

    def __init__(self) -> None:
        self.spoken: list[str] = []
        self.voices_used: list[tuple[str, str]] = []
        self.chunks_made = 0

    def speak(self, text: str, *, voice: str, language: str) -> RampUtterance:
        self.spoken.append(text)
        self.voices_used.append((voice, language))
        return RampUtterance(self, text)

    def render(self, text: str) -> list[SpeechChunk]:
        chunks: list[SpeechChunk] = []
        position = 0
        words = text.split(" ")
        for index, word in enumerate(words):
            end = position + len(word) + (index < len(words) - 1)
            for part in range(CHUNKS_PER_WORD):
                is_last = part == CHUNKS_PER_WORD - 1
                samples = np.full(CHUNK_SAMPLES, 0.5, np.float32)
                chunks.append(SpeechChunk(samples, position, end if is_last else position))
            position = end
        return chunks


class ScriptedReply:
    def __init__(self, parts: Sequence[TextDelta | ToolCall | Exception]) -> None:
        self._parts = iter(parts)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cancel()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> TextDelta | ToolCall:
        part = next(self._parts, None)
        if part is None:
            raise StopAsyncIteration
        if isinstance(part, Exception):
            raise part
        return part

    def cancel(self) -> None:
        self._parts = iter(())


@dataclass
class ScriptedModel:
    """Answers with the scripts in turn and notes what it was asked."""

    scripts: list[Sequence[TextDelta | ToolCall | LanguageModelError]] = field(default_factory=list)
    asked: list[Sequence[Message]] = field(default_factory=list)

    def reply(self, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> ScriptedReply:
        self.asked.append(tuple(messages))
        return ScriptedReply(self.scripts.pop(0) if self.scripts else [])


class Events:
    """A sink that keeps everything."""

    def __init__(self) -> None:
        self.all: list[Event] = []

    def emit(self, event: Event) -> None:
        self.all.append(event)

    def told(self, kind: str) -> list[dict[str, Any]]:
        """The events of one type, as they are written."""
        return [to_json(event) for event in self.all if event.type == kind]

    @property
    def decisions(self) -> list[str]:
        return [event["decision"] for event in self.told("decision")]


async def settle() -> None:
    """Let everything that is ready run; nothing here waits for time."""
    for _ in range(200):
        await asyncio.sleep(0)


class Sink(FrameProcessor):
    """What observers are told the caller said."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, TranscriptionFrame):
            self.told.append(frame.text)
        await self.push_frame(frame, direction)


class Chain:
    """Turn-taking, reply, speech and output of one call, driven window by window and packet by packet."""

    def __init__(self, config: CallConfig, tools: Sequence[CallTool], agent: AgentConfig) -> None:
        self.call = LocalCall()
        self.model = ScriptedModel()
        self.synthesizer = RampSynthesizer()
        self.events = Events()
        self.ended = asyncio.Event()
        self.conversation = Conversation()
        self.sink = Sink()
        events = CallEvents([self.events])
        self.activity = activity = AgentActivity()
        self.reply = ReplyService(
            self.model, self.conversation, tools, config.waiting, activity=activity, events=events
        )
        self.speech = SpeechService(
            self.synthesizer, self.call.playout, config.speech, agent, activity=activity, events=events
        )
        output = CallOutput(self.call, self.conversation, activity=activity, events=events, ended=self.ended)
        self.control = AgentControl(
            self.reply, self.speech, output, self.call.playout, activity, self.conversation, config.turn_taking.barge_in
        )
        self.machine = TurnMachine(config.turn_taking, onset_ms=config.vad.onset_ms)
        turn_taking = TurnTaking(self.machine, self.control, events, recent=RecentAudio(), smart_turn=None)
        self.worker = PipelineWorker(
            Pipeline([turn_taking, self.reply, self.speech, output, self.sink]),
            enable_rtvi=False,
            enable_turn_tracking=False,
            idle_timeout_secs=None,
        )
        self._now_ms = 0
        self._silence = 0
        self._is_active = False

    async def push(self, *frames: Frame) -> None:
        for frame in frames:
            await self.worker.queue_frame(frame)
        await settle()

    async def voice(self, windows: int, *, is_voiced: bool = True, is_hum: bool = False) -> None:
        """The caller makes a sound for so many windows of 32 ms, while playout goes on."""
        for number in range(windows):
            self._silence = 0
            if number == 1 and not self._is_active:
                self._is_active = True
                await self.push(VADUserStartedSpeakingFrame())
            await self._window(Window(0, True, is_voiced, is_hum))

    async def silence(self, windows: int) -> None:
        """The caller is silent."""
        for _ in range(windows):
            await self._window(Window(0))
            self._silence += 1
            if self._silence == 6 and self._is_active:
                self._is_active = False
                await self.push(VADUserStoppedSpeakingFrame())

    async def transcript(self, text: str, *, is_final: bool, confidence: float | None = None) -> None:
        await self.push(TranscriptFrame(Transcript(text, is_final, 0, 0, confidence=confidence)))

    async def says(self, text: str) -> None:
        """A whole turn of the caller, to the request for a reply."""
        await self.voice(20)
        await self.silence(7)
        await self.transcript(text, is_final=True)
        await self.silence(15)

    async def play(self, packets: int) -> NDArray[np.float32]:
        """Let so many 20 ms packets leave; returns their samples."""
        out: list[NDArray[np.float32]] = []
        for _ in range(packets):
            out.append(self.call.playout.tick())
            await settle()
        return np.concatenate(out) if out else np.zeros(0, np.float32)

    async def _window(self, window: Window) -> None:
        self._now_ms += WINDOW_MS
        await self.push(VadWindowFrame(replace(window, at_ms=self._now_ms)))


@asynccontextmanager
async def running(
    config: CallConfig, tools: Sequence[CallTool] = (), agent: AgentConfig = SILENT
) -> AsyncIterator[Chain]:
    chain = Chain(config, tools, agent)
    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(chain.worker)
    async with asyncio.TaskGroup() as group:
        group.create_task(runner.run())
        await settle()
        try:
            yield chain
        finally:
            await runner.cancel()


@pytest.fixture
def chain_of() -> Callable[..., AbstractAsyncContextManager[Chain]]:
    """`async with chain_of(config, tools) as chain`, for a chain of its own on the running event loop."""
    return running


@pytest.fixture
async def chain() -> AsyncIterator[Chain]:
    async with running(CallConfig()) as chain:
        yield chain


@pytest.fixture
async def chain_with_tools() -> AsyncIterator[Chain]:
    async def current_time(arguments: Mapping[str, Any]) -> str:
        return json.dumps({"time": "12:00", **arguments})

    async def end_call(arguments: Mapping[str, Any]) -> str:
        return "{}"

    async def never_ends(arguments: Mapping[str, Any]) -> str:
        await asyncio.Event().wait()
        return "{}"

    tools = [
        CallTool(Tool("never_ends", "", {}), never_ends),
        CallTool(Tool("current_time", "", {}), current_time),
        CallTool(Tool("end_call", "", {}), end_call, ends_call=True),
    ]
    async with running(CallConfig(), tools) as chain:
        yield chain
