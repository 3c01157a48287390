"""An engine server that dies in the middle of a sentence or a reply, where a test wants it to; it can start again."""

import asyncio
import re
from collections.abc import Sequence
from typing import Self

from aiohttp import web

from agent.engine_server.access import Access
from agent.engine_server.models import Model, Models
from agent.engine_server.server import application
from agent.settings.engine_server import EngineServerConfig
from asr.interface import Recognizer
from llm.interface import AS_SET, Ending, LanguageModel, Message, Reply, Sampling, TextDelta, Tool, ToolCall
from tts.interface import SpeechChunk, Synthesizer, Utterance

HOST = "127.0.0.1"
CHUNKS_BEFORE = 30  # of a stopping sentence: 2.4 s of it
PIECES_BEFORE = 6  # of a stopping reply: words


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
    """A synthesizer whose sentences stop."""

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

    def reply(self, messages: Sequence[Message], tools: Sequence[Tool] = (), sampling: Sampling = AS_SET) -> Reply:
        self.asked = tuple(messages)
        reply = self._engine.reply(messages, tools, sampling)
        return StoppingReply(reply, self._stop) if self._stop else reply


class EngineServer:
    """`parley engine` in this process, until it is killed; it can be started again."""

    def __init__(self, recognizer: Recognizer, language_model: LanguageModel, synthesizer: Synthesizer) -> None:
        self.sentence = Stop()
        self.reply = Stop()
        self.model = NotingModel(language_model, self.reply)
        self._recognizer = recognizer
        self._synthesizer = StoppingSynthesizer(synthesizer, self.sentence)
        self._runner: web.AppRunner | None = None
        self._port = 0
        self.is_listening = asyncio.Event()  # since it was started, somebody has begun to be heard

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self._port}/v1"

    async def start(self) -> None:
        config = EngineServerConfig()
        models = Models(asr=Model("asr", "", 1), llm=Model("llm", "", 1), tts=Model("tts", "", 1))
        app = application(config, Access(config), models, self._recognizer, self.model, self._synthesizer)
        app.on_response_prepare.append(self._on_answer)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, HOST, self._port, reuse_address=True).start()
        self._port = self._runner.addresses[0][1]

    async def _on_answer(self, _: web.Request, response: web.StreamResponse) -> None:
        if isinstance(response, web.WebSocketResponse):
            self.is_listening.set()

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
        self.is_listening.clear()
        self.sentence.is_armed = self.reply.is_armed = False
