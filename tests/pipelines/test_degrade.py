"""Engines that die in the middle of a call: remote ones, on an engine server that is killed during a sentence."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from agent.serving.metrics import Metrics
from asr.config import SphinxConfig, VllmRealtimeConfig
from asr.fallback import FallbackRecognizer
from asr.remote.engine import RemoteRecognizer
from asr.remote.vllm import VllmRealtime
from asr.sphinx.engine import SphinxRecognizer
from benchmarks.far_end.caller import Caller
from benchmarks.far_end.material import sentence
from llm.config import ChatConfig, DemoConfig
from llm.demo.grammar import training_sentences
from llm.demo.model import DemoModel
from llm.fallback import FallbackLanguageModel
from llm.interface import Message, TextDelta
from llm.remote.chat_completions import ChatModel
from pipelines.call import Engines, prepare, run_call
from pipelines.config import AgentConfig, CallConfig
from pipelines.replying.conversation import INTERRUPTED
from pipelines.replying.reply import APOLOGY
from tests.fakes import PATIENCE_S
from tests.fakes.dying_server import PIECES_BEFORE, EngineServer, NotingModel, Stop
from tts.config import EspeakConfig, OmniSpeechConfig
from tts.espeak.engine import EspeakSynthesizer
from tts.fallback import FallbackSynthesizer
from tts.remote.engine import RemoteSynthesizer
from tts.remote.omni import OmniSpeech
from webrtc.config import WebRTCConfig
from webrtc.peer.call import PeerCall

AGENT = AgentConfig(greeting="Hello.")

pytestmark = pytest.mark.real_time

Event = dict[str, Any]


@pytest.fixture(scope="module")
def config() -> CallConfig:
    config = CallConfig()
    prepare(config)
    return config


@pytest.fixture(autouse=True)
def _quiet_pipecat() -> Iterator[None]:
    """Pipecat's logger writes every link of every pipeline to stderr."""
    from loguru import logger

    logger.disable("pipecat")
    yield
    logger.enable("pipecat")


@pytest.fixture
async def embedded() -> AsyncIterator[Engines]:
    async with (
        SphinxRecognizer(SphinxConfig(), training_sentences()) as recognizer,
        EspeakSynthesizer(EspeakConfig()) as synthesizer,
    ):
        yield Engines(recognizer, synthesizer, DemoModel(DemoConfig()))


@pytest.fixture
async def server(embedded: Engines) -> AsyncIterator[EngineServer]:
    server = EngineServer(embedded.recognizer, DemoModel(DemoConfig()), embedded.synthesizer)
    await server.start()
    yield server
    await server.kill()


@pytest.fixture
async def remote(server: EngineServer) -> AsyncIterator[Engines]:
    hearing = VllmRealtimeConfig(base_url=server.url, model="asr", reconnects=0)
    thinking = ChatConfig(base_url=server.url, model="llm", retry_limit_s=0)
    speaking = OmniSpeechConfig(base_url=server.url, retry_limit_s=0)
    async with (
        RemoteRecognizer(hearing, VllmRealtime(hearing)) as recognizer,
        ChatModel(thinking) as model,
        RemoteSynthesizer(speaking, OmniSpeech(speaking)) as synthesizer,
    ):
        yield Engines(recognizer, synthesizer, model)


class Conversation:
    """The caller's side: says things and waits for what the server tells of the call."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self.events: list[Event] = []

    async def say(self, text: str) -> None:
        await self._caller.say(sentence(text))

    async def until(self, name: str, **values: str) -> Event:
        """The next event of this name whose texts contain these."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                message = json.loads((await self._caller.next_message()).text)
                event: Event = message.get("data") or {}
                if event.get("type") != "parley":
                    continue
                self.events.append(event)
                if event["event"] == name and all(text in event[key].lower() for key, text in values.items()):
                    return event

    async def hears(self, word: str) -> None:
        await self.until("heard", text=word)

    async def listens(self) -> None:
        await self.until("state", state="listening")


@asynccontextmanager
async def calling(engines: Engines, config: CallConfig) -> AsyncGenerator[Conversation]:
    """A call under way, its greeting heard; it must end as every call does."""
    async with asyncio.TaskGroup() as group, PeerCall(WebRTCConfig(loopback=True)) as call:
        carried = group.create_task(run_call(call, engines, AGENT, config, tools=(), sinks=[Metrics()]))
        async with Caller(call) as caller:
            conversation = Conversation(caller)
            await conversation.hears("hello")
            await conversation.listens()
            yield conversation
            assert not carried.done()
        async with asyncio.timeout(PATIENCE_S):
            await carried


async def kill_at(stop: Stop, server: EngineServer) -> None:
    async with asyncio.timeout(PATIENCE_S):
        await stop.reached.wait()
    await server.kill()


async def whole_reply(messages: Sequence[Message]) -> str:
    """What the scripted model says to these, undisturbed."""
    async with DemoModel(DemoConfig()).reply(messages) as reply:
        return "".join([piece.text async for piece in reply if isinstance(piece, TextDelta)])


async def test_fallbacks_finish_the_sentence_and_the_call(
    remote: Engines, embedded: Engines, server: EngineServer, config: CallConfig
) -> None:
    stand_in = NotingModel(embedded.language_model)
    engines = Engines(
        FallbackRecognizer([remote.recognizer, embedded.recognizer]),
        FallbackSynthesizer([remote.synthesizer, embedded.synthesizer]),
        FallbackLanguageModel([remote.language_model, stand_in]),
    )
    async with calling(engines, config) as conversation:
        server.sentence.is_armed = True
        await conversation.say("tell me a story")
        await kill_at(server.sentence, server)
        story = await whole_reply(server.model.asked)
        await conversation.hears("marta")
        await conversation.say("stop please")
        cut = await conversation.until("interrupted")
        await conversation.until("state", state="thinking")
        await conversation.listens()
        await conversation.say("what is two plus two")
        await conversation.hears("plus")
    assert "marta" in cut["heard"].lower()
    assert story.startswith(cut["heard"])  # nothing is missing, nothing was said twice
    assert Message("assistant", cut["heard"] + INTERRUPTED) in stand_in.asked


async def test_without_fallbacks_the_call_outlives_its_engines(
    remote: Engines, server: EngineServer, config: CallConfig
) -> None:
    async with calling(remote, config) as conversation:
        server.sentence.is_armed = True
        await conversation.say("tell me a story")
        await kill_at(server.sentence, server)
        story = await whole_reply(server.model.asked)
        await conversation.listens()
        await server.start()
        await server.is_listening.wait()
        await conversation.say("what is two plus two")
        await conversation.hears("plus")
    [told] = [message.content for message in server.model.asked if story.startswith(message.content[:8])]
    assert 0 < len(told) < len(story) / 2
    assert story.startswith(told)


async def test_a_language_model_that_dies_in_mid_reply_is_apologized_for(
    remote: Engines, embedded: Engines, server: EngineServer, config: CallConfig
) -> None:
    engines = Engines(embedded.recognizer, embedded.synthesizer, remote.language_model)
    async with calling(engines, config) as conversation:
        server.reply.is_armed = True
        await conversation.say("tell me a story")
        await kill_at(server.reply, server)
        await conversation.hears("sorry")
        await conversation.listens()
        await server.start()
        await conversation.say("what is two plus two")
        await conversation.hears("plus")
    story = await whole_reply(server.model.asked[:2])
    begun = " ".join(story.split()[:PIECES_BEFORE])
    assert server.model.asked[2] == Message("assistant", f"{begun} {APOLOGY}")
