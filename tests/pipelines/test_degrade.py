"""Engines that die in the middle of a call: remote ones, on an engine server that is killed during a sentence."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from asr.config import VllmRealtimeConfig
from asr.fallback import FallbackRecognizer
from asr.remote.engine import RemoteRecognizer
from asr.remote.vllm import VllmRealtime
from llm.config import ChatConfig, DemoConfig
from llm.demo.model import DemoModel
from llm.fallback import FallbackLanguageModel
from llm.interface import Message, TextDelta
from llm.remote.chat_completions import ChatModel
from pipelines.call import Engines
from pipelines.config import CallConfig
from pipelines.replying.conversation import INTERRUPTED
from pipelines.replying.reply import APOLOGY
from tests.fakes import PATIENCE_S
from tests.fakes.conversation import calling
from tests.fakes.dying_server import PIECES_BEFORE, EngineServer, NotingModel, Stop
from tts.config import OmniSpeechConfig
from tts.fallback import FallbackSynthesizer
from tts.remote.engine import RemoteSynthesizer
from tts.remote.omni import OmniSpeech

pytestmark = [pytest.mark.real_time, pytest.mark.usefixtures("quiet_pipecat")]


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
        await conversation.state("thinking")
        await conversation.state("listening")
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
        await conversation.state("listening")
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
        await conversation.state("listening")
        await server.start()
        await conversation.say("what is two plus two")
        await conversation.hears("plus")
    story = await whole_reply(server.model.asked[:2])
    begun = " ".join(story.split()[:PIECES_BEFORE])
    assert server.model.asked[2] == Message("assistant", f"{begun} {APOLOGY}")
