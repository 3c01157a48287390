"""Engines that die in the middle of a call: remote ones, on an engine server that is killed during a sentence."""

import asyncio
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Self

import pytest
from aiohttp import web

from agent.engine_server.access import Access
from agent.engine_server.config import EngineServerConfig
from agent.engine_server.models import Model, Models
from agent.engine_server.server import application
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
from llm.demo.model import DemoMind
from llm.fallback import FallbackLanguageModel
from llm.interface import Ending, LanguageModel, Message, Reply, Sampling, TextDelta, Tool, ToolCall
from llm.remote.chat_completions import ChatModel
from pipelines.call import Engines, prepare, run_call
from pipelines.config import AgentConfig, CallConfig
from pipelines.replying.conversation import INTERRUPTED
from pipelines.replying.reply import APOLOGY
from tts.config import EspeakConfig, OmniSpeechConfig
from tts.espeak.engine import EspeakSynthesizer
from tts.fallback import FallbackSynthesizer
from tts.interface import SpeechChunk, Synthesizer, Utterance
from tts.remote.engine import RemoteSynthesizer
from tts.remote.omni import OmniSpeech
from webrtc.config import WebRTCConfig
from webrtc.peer.call import PeerCall

AGENT = AgentConfig(greeting="Hello.")
HOST = "127.0.0.1"
PATIENCE_S = 30.0  # for what takes a second on a quiet machine
CHUNKS_BEFORE = 30  # of a stopping sentence: 2.4 s of it
PIECES_BEFORE = 6  # of a stopping reply: words

Event = dict[str, Any]


class Stop:
    """Where a stream of the server stands still for ever, once it is armed: the server is to be killed there."""

    def __init__(self) -> None:
        self.is_armed = False
        self.reached = asyncio.Event()

    async def at(self, number: int, stops_before: int) -> None:
        """Stand still if this is the place."""
        if self.is_armed and number == stops_before:
            self.reached.set()
            await asyncio.Event().wait()


class StoppingUtterance:
    """An utterance of another engine, up to the stop."""

    def __init__(self, utterance: Utterance, stop: Stop) -> None:
        self._utterance = utterance
        self._stop = stop
        self._delivered = 0

    async def __aenter__(self) -> Self:
        await self._utterance.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._utterance.__aexit__(None, None, None)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SpeechChunk:
        await self._stop.at(self._delivered, CHUNKS_BEFORE)
        self._delivered += 1
        return await anext(self._utterance)

    def hold(self) -> None:
        self._utterance.hold()

    def resume(self) -> None:
        self._utterance.resume()

    def cancel(self) -> None:
        self._utterance.cancel()


class StoppingSynthesizer:
    """A synthesiser whose sentences stop."""

    def __init__(self, engine: Synthesizer, stop: Stop) -> None:
        self._engine = engine
        self._stop = stop
        self.sample_rate_hz = engine.sample_rate_hz
        self.voices = engine.voices

    def speak(self, text: str, *, voice: str, language: str) -> StoppingUtterance:
        return StoppingUtterance(self._engine.speak(text, voice=voice, language=language), self._stop)


class StoppingReply:
    """A reply of another engine in words, up to the stop."""

    def __init__(self, reply: Reply, stop: Stop) -> None:
        self._reply = reply
        self._stop = stop
        self._words: list[str] = []
        self._delivered = 0

    async def __aenter__(self) -> Self:
        await self._reply.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._reply.__aexit__(None, None, None)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> TextDelta | ToolCall:
        await self._stop.at(self._delivered, PIECES_BEFORE)
        self._delivered += 1
        if not self._words:
            piece = await anext(self._reply)
            if isinstance(piece, ToolCall):
                return piece
            self._words = re.findall(r"\s*\S+", piece.text)
        return TextDelta(self._words.pop(0))

    def cancel(self) -> None:
        self._reply.cancel()

    @property
    def ending(self) -> Ending:
        return self._reply.ending


class NotingModel:
    """A language model, with what it was last asked; its replies stop if there is a stop."""

    def __init__(self, engine: LanguageModel, stop: Stop | None = None) -> None:
        self._engine = engine
        self._stop = stop
        self.asked: Sequence[Message] = ()

    def reply(self, messages: Sequence[Message], tools: Sequence[Tool], sampling: Sampling) -> Reply:
        self.asked = tuple(messages)
        reply = self._engine.reply(messages, tools, sampling)
        return StoppingReply(reply, self._stop) if self._stop else reply


class EngineServer:
    """`parley engine` in this process, on the embedded engines, until it is killed; it can be started again."""

    def __init__(self, ears: SphinxRecognizer, mouth: EspeakSynthesizer) -> None:
        self.sentence = Stop()
        self.reply = Stop()
        self.mind = NotingModel(DemoMind(DemoConfig()), self.reply)
        self._ears = ears
        self._mouth = StoppingSynthesizer(mouth, self.sentence)
        self._runner: web.AppRunner | None = None
        self._port = 0
        self.has_ears = asyncio.Event()  # since it was started, somebody has begun to be heard

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self._port}/v1"

    async def start(self) -> None:
        config = EngineServerConfig()
        models = Models(asr=Model("ears", "", 1), llm=Model("mind", "", 1), tts=Model("mouth", "", 1))
        app = application(config, Access(config), models, self._ears, self.mind, self._mouth)
        app.on_response_prepare.append(self._on_answer)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, HOST, self._port, reuse_address=True).start()
        self._port = self._runner.addresses[0][1]

    async def _on_answer(self, _: web.Request, response: web.StreamResponse) -> None:
        if isinstance(response, web.WebSocketResponse):
            self.has_ears.set()

    async def kill(self) -> None:
        """As a process that dies: nobody hears another byte of it, nor can anybody connect."""
        if self._runner:
            for site in tuple(self._runner.sites):
                await site.stop()
            assert self._runner.server
            for connection in self._runner.server.connections:
                if connection.transport:
                    connection.transport.abort()
            await self._runner.cleanup()
            self._runner = None
        self.has_ears.clear()
        self.sentence.is_armed = self.reply.is_armed = False


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
        SphinxRecognizer(SphinxConfig(), training_sentences()) as ears,
        EspeakSynthesizer(EspeakConfig()) as mouth,
    ):
        yield Engines(ears, mouth, DemoMind(DemoConfig()))


@pytest.fixture
async def server(embedded: Engines) -> AsyncIterator[EngineServer]:
    assert isinstance(embedded.recognizer, SphinxRecognizer)
    assert isinstance(embedded.synthesizer, EspeakSynthesizer)
    server = EngineServer(embedded.recognizer, embedded.synthesizer)
    await server.start()
    yield server
    await server.kill()


@pytest.fixture
async def remote(server: EngineServer) -> AsyncIterator[Engines]:
    hearing = VllmRealtimeConfig(base_url=server.url, model="ears", reconnects=0)
    thinking = ChatConfig(base_url=server.url, model="mind", retry_limit_s=0)
    speaking = OmniSpeechConfig(base_url=server.url, retry_limit_s=0)
    async with (
        RemoteRecognizer(hearing, VllmRealtime(hearing)) as ears,
        ChatModel(thinking) as mind,
        RemoteSynthesizer(speaking, OmniSpeech(speaking)) as mouth,
    ):
        yield Engines(ears, mouth, mind)


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
    """What the scripted mind says to these, undisturbed."""
    async with DemoMind(DemoConfig()).reply(messages) as reply:
        return "".join([piece.text async for piece in reply if isinstance(piece, TextDelta)])


async def test_stand_ins_finish_the_sentence_and_the_call(
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
        story = await whole_reply(server.mind.asked)
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


async def test_without_stand_ins_the_call_outlives_its_engines(
    remote: Engines, server: EngineServer, config: CallConfig
) -> None:
    async with calling(remote, config) as conversation:
        server.sentence.is_armed = True
        await conversation.say("tell me a story")
        await kill_at(server.sentence, server)
        story = await whole_reply(server.mind.asked)
        await conversation.listens()
        await server.start()
        await server.has_ears.wait()
        await conversation.say("what is two plus two")
        await conversation.hears("plus")
    [told] = [message.content for message in server.mind.asked if story.startswith(message.content[:8])]
    assert 0 < len(told) < len(story) / 2
    assert story.startswith(told)


async def test_a_mind_that_dies_in_mid_reply_is_apologised_for(
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
    story = await whole_reply(server.mind.asked[:2])
    begun = " ".join(story.split()[:PIECES_BEFORE])
    assert server.mind.asked[2] == Message("assistant", f"{begun} {APOLOGY}")
