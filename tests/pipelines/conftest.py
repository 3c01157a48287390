"""A call from turn taking to the heard ledger in virtual time, driven by the test; and what whole calls need."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pipecat.frames.frames import Frame, TranscriptionFrame, VADUserStartedSpeakingFrame, VADUserStoppedSpeakingFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.workers.runner import WorkerRunner

from asr.config import SphinxConfig
from asr.interface import Transcript
from asr.sphinx.engine import SphinxRecognizer
from llm.config import DemoConfig
from llm.demo.grammar import training_sentences
from llm.demo.model import DemoModel
from llm.interface import Tool
from pipelines.activity import AgentActivity
from pipelines.agent_control import AgentControl
from pipelines.call import Engines, prepare
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
from tests.fakes.call import MemoryCall
from tests.fakes.scripted import ScriptedModel, SteadySynthesizer
from tts.config import EspeakConfig
from tts.espeak.engine import EspeakSynthesizer

SILENT = AgentConfig(greeting="")
SETTLE_S = 1e-6  # virtual: nothing that waits for a time runs, and all that is ready does


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
    """Turn taking, reply, speech and output of one call, driven window by window and packet by packet."""

    def __init__(self, config: CallConfig, tools: Sequence[CallTool], agent: AgentConfig) -> None:
        self.call = MemoryCall()
        self.model = ScriptedModel()
        self.synthesizer = SteadySynthesizer()
        self.events = Events()
        self.ended = asyncio.Event()
        self.conversation = Conversation()
        self.sink = Sink()
        self.activity = activity = AgentActivity()
        events = CallEvents([self.events])
        playout = self.call.playout
        self.reply = ReplyService(
            self.model, self.conversation, tools, config.waiting, activity=activity, events=events
        )
        self.speech = SpeechService(self.synthesizer, playout, config.speech, agent, activity=activity, events=events)
        output = CallOutput(self.call, self.conversation, activity=activity, events=events, ended=self.ended)
        barge_in = config.turn_taking.barge_in
        control = AgentControl(self.reply, self.speech, output, playout, activity, self.conversation, barge_in)
        machine = TurnMachine(config.turn_taking, onset_ms=config.vad.onset_ms)
        turn_taking = TurnTaking(machine, control, events, recent=RecentAudio(), smart_turn=None)
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
        await asyncio.sleep(SETTLE_S)

    async def voice(self, windows: int, *, is_voiced: bool = True, is_hum: bool = False) -> None:
        """The caller makes a sound for so many windows of 32 ms, while playout stands still."""
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
            out.append(await self.call.playout.next_block())
            await asyncio.sleep(SETTLE_S)
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
        await asyncio.sleep(SETTLE_S)
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


@pytest.fixture(scope="module")
def config() -> CallConfig:
    """Of a whole call: what all calls share is loaded."""
    config = CallConfig()
    prepare(config)
    return config


@pytest.fixture
async def embedded() -> AsyncIterator[Engines]:
    """The engines that need nothing."""
    async with (
        SphinxRecognizer(SphinxConfig(), training_sentences()) as recognizer,
        EspeakSynthesizer(EspeakConfig()) as synthesizer,
    ):
        yield Engines(recognizer, synthesizer, DemoModel(DemoConfig()))


@pytest.fixture
def quiet_pipecat() -> Iterator[None]:
    """Pipecat's logger writes every link of every pipeline to stderr."""
    from loguru import logger

    logger.disable("pipecat")
    yield
    logger.enable("pipecat")
