"""Whole calls: a peer that speaks over real UDP, the embedded engines, every floor but the server."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest

from agent.serving.metrics import Metrics
from agent.tools.config import ToolsConfig
from agent.tools.toolbox import Toolbox
from asr.config import SphinxConfig
from asr.sphinx.engine import SphinxRecognizer
from benchmarks.far_end.caller import Caller
from benchmarks.far_end.material import cough, sentence
from llm.config import DemoConfig
from llm.demo.grammar import training_sentences
from llm.demo.model import DemoModel
from pipelines.call import Engines, prepare, run_call
from pipelines.config import AgentConfig, CallConfig
from tests.fakes import PATIENCE_S
from tts.config import EspeakConfig
from tts.espeak.engine import EspeakSynthesizer
from webrtc.config import WebRTCConfig
from webrtc.peer.call import PeerCall

Event = dict[str, Any]

AGENT = AgentConfig(greeting="Hello.")

pytestmark = pytest.mark.real_time


@pytest.fixture(scope="module")
def config() -> CallConfig:
    config = CallConfig()
    prepare(config)
    return config


@pytest.fixture
async def engines() -> AsyncIterator[Engines]:
    async with (
        SphinxRecognizer(SphinxConfig(), training_sentences()) as recognizer,
        EspeakSynthesizer(EspeakConfig()) as synthesizer,
    ):
        yield Engines(recognizer, synthesizer, DemoModel(DemoConfig()))


class Conversation:
    """The caller's side: says things and waits for what the server tells of the call."""

    def __init__(self, caller: Caller, carried: asyncio.Task[None]) -> None:
        self.caller = caller
        self.carried = carried  # the server's side, done when the call is over
        self.events: list[Event] = []

    async def say(self, text: str) -> None:
        await self.caller.say(sentence(text))

    async def until(self, condition: Callable[[Event], bool]) -> Event:
        """The next event that meets the condition."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while True:
                    event = await self._next_event()
                    if condition(event):
                        return event
        except TimeoutError:
            pytest.fail(f"waited in vain; what was told last: {self.events[-12:]}")

    async def _next_event(self) -> Event:
        while True:
            event: Event = json.loads((await self.caller.next_message()).text).get("data") or {}
            if event.get("type") == "parley":
                self.events.append(event)
                return event

    async def hears(self, word: str) -> None:
        await self.until(lambda event: event["event"] == "heard" and word in event["text"].lower())

    async def state(self, state: str) -> None:
        await self.until(lambda event: event["event"] == "state" and event["state"] == state)

    def decisions(self) -> list[str]:
        return [event["decision"] for event in self.events if event["event"] == "decision"]


@asynccontextmanager
async def calling(engines: Engines, config: CallConfig) -> AsyncIterator[Conversation]:
    """A call under way, its greeting heard; both ends are gone afterwards."""
    async with asyncio.TaskGroup() as group, PeerCall(WebRTCConfig(loopback=True)) as call:
        tools = Toolbox(AGENT.tools, ToolsConfig()).for_call()
        carried = group.create_task(run_call(call, engines, AGENT, config, tools=tools, sinks=[Metrics()]))
        async with Caller(call) as caller:
            conversation = Conversation(caller, carried)
            await conversation.hears("hello")
            await conversation.state("listening")
            yield conversation
        async with asyncio.timeout(PATIENCE_S):
            await carried


@pytest.fixture(autouse=True)
def _quiet_pipecat() -> Iterator[None]:
    """Pipecat's logger writes every link of every pipeline to stderr."""
    from loguru import logger

    logger.disable("pipecat")
    yield
    logger.enable("pipecat")


async def test_a_question_is_answered_aloud(engines: Engines, config: CallConfig) -> None:
    async with calling(engines, config) as conversation:
        await conversation.say("what time is it")
        await conversation.state("speaking")
        await conversation.hears("is")
        await conversation.state("listening")
        assert np.abs(conversation.caller.recording().samples).max() > 0.05


async def test_an_interruption_silences_the_agent_and_cuts_its_words(engines: Engines, config: CallConfig) -> None:
    async with calling(engines, config) as conversation:
        await conversation.say("tell me a story")
        await conversation.hears("one")
        await conversation.say("stop please")
        cut = await conversation.until(lambda event: event["event"] == "interrupted")
        heard = [event["text"] for event in conversation.events if event["event"] == "heard"]
        assert "".join(heard).strip().endswith(cut["heard"])
        assert conversation.decisions()[:2] == ["duck", "mute"]
        assert conversation.decisions()[-1] == "cut"


async def test_a_cough_does_not_cut(engines: Engines, config: CallConfig) -> None:
    async with calling(engines, config) as conversation:
        await conversation.say("tell me a story")
        await conversation.hears("one")
        for number in range(2):
            await conversation.caller.say(cough(number, is_voiced=False))
            for _ in range(3):
                await conversation.until(lambda event: event["event"] == "heard")
        assert "cut" not in conversation.decisions()


async def test_goodbye_ends_the_call_once_it_was_heard(engines: Engines, config: CallConfig) -> None:
    async with calling(engines, config) as conversation:
        await conversation.say("goodbye")
        await conversation.hears("goodbye")
        async with asyncio.timeout(PATIENCE_S):
            await conversation.carried


async def test_a_hang_up_leaves_no_task(engines: Engines, config: CallConfig) -> None:
    before = asyncio.all_tasks()
    async with calling(engines, config) as conversation:
        await conversation.say("tell me a story")
        await conversation.hears("one")
    for _ in range(100):
        if not asyncio.all_tasks() - before:
            break
        await asyncio.sleep(0.02)
    assert not asyncio.all_tasks() - before
