"""Engines that do as a test says, and the engine server in front of them over a real socket."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import pytest
from aiohttp import ClientSession, ClientTimeout
from numpy.typing import NDArray

from agent.engine_server.access import Access
from agent.engine_server.models import Model, Models
from agent.engine_server.server import application
from agent.settings.engine_server import EngineServerConfig
from asr.interface import RecognitionError, Transcript
from llm.interface import Ending, Message, Sampling, TextDelta, Tool, ToolCall
from tests.fakes import PATIENCE_S
from tts.interface import SpeechChunk, Voice, VoiceNotFound
from webrtc.http.server import serve_http

WORDS = ("one", "two", "three", "four", "five")


@dataclass
class FakeUtterance:
    """Chunks of 80 ms at 24 kHz, the n-th of them all n/100; without an end where `chunks` is None."""

    synthesizer: "FakeSynthesizer"
    text: str
    voice: str
    language: str
    delivered: int = 0
    left: asyncio.Event = field(default_factory=asyncio.Event)

    async def __aenter__(self) -> Self:
        if self.synthesizer.refusal:
            raise self.synthesizer.refusal
        self.synthesizer.arrived.set()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.left.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SpeechChunk:
        await self.synthesizer.gate.wait()
        if self.delivered == self.synthesizer.fails_after:
            raise self.synthesizer.failure
        if self.delivered == self.synthesizer.chunks:
            raise StopAsyncIteration
        await asyncio.sleep(0)
        self.delivered += 1
        return SpeechChunk(np.full(1920, self.delivered % 100 / 100, np.float32), 0, len(self.text))


@dataclass
class FakeSynthesizer:
    """Speaks chunks of known samples; fails and refuses when a test says so."""

    sample_rate_hz: int = 24_000
    voices: Sequence[Voice] = (Voice("Ann", "en", "calm"), Voice("Bea", "pt"))
    chunks: int | None = 3
    fails_after: int | None = None
    failure: Exception = field(default_factory=Exception)
    refusal: Exception | None = None
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    utterances: list[FakeUtterance] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    def speak(self, text: str, *, voice: str, language: str) -> Any:
        if voice not in {known.name for known in self.voices}:
            raise VoiceNotFound(f"no voice named {voice!r}")
        self.utterances.append(FakeUtterance(self, text, voice, language))
        return self.utterances[-1]


@dataclass
class FakeRecognition:
    """One word for every push, a partial each; a final for every flush."""

    recognizer: "FakeRecognizer"
    transcripts: asyncio.Queue[Transcript | Exception] = field(default_factory=asyncio.Queue)
    pushed: list[NDArray[np.float32]] = field(default_factory=list)
    start: int = 0
    words: int = 0

    async def __aenter__(self) -> Self:
        if self.recognizer.refusal:
            raise self.recognizer.refusal
        self.recognizer.open += 1
        return self

    async def __aexit__(self, *_: object) -> None:
        self.recognizer.open -= 1
        if not self.recognizer.open:
            self.recognizer.empty.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Transcript:
        transcript = await self.transcripts.get()
        if isinstance(transcript, Exception):
            raise transcript
        return transcript

    def push(self, samples: NDArray[np.float32]) -> None:
        self.pushed.append(samples)
        self.words += 1
        if self.words == self.recognizer.fails_at_word:
            self.transcripts.put_nowait(RecognitionError("the recognizer failed"))
        else:
            self._say(is_final=False)

    def flush(self) -> None:
        self._say(is_final=True)
        self.words, self.start = 0, self._end

    @property
    def _end(self) -> int:
        return sum(map(len, self.pushed))

    def _say(self, *, is_final: bool) -> None:
        words = self.recognizer.words[: self.words]
        if is_final and self.words and self.recognizer.rewrites:
            words = ("none", *words[1:])
        self.transcripts.put_nowait(Transcript(" ".join(words), is_final, self.start, self._end))


@dataclass
class FakeRecognizer:
    """Hears one word a push; fails and refuses when a test says so."""

    words: Sequence[str] = WORDS
    rewrites: bool = False  # the final has another first word than the partials
    fails_at_word: int | None = None
    refusal: Exception | None = None
    open: int = 0
    empty: asyncio.Event = field(default_factory=asyncio.Event)
    hearings: list[FakeRecognition] = field(default_factory=list)

    def listen(self, *, language: str | None = None) -> Any:
        assert language is None
        self.hearings.append(FakeRecognition(self))
        return self.hearings[-1]


@dataclass
class FakeReply:
    """The pieces of its language model, one after the other."""

    language_model: "FakeLanguageModel"
    position: int = 0
    is_cancelled: bool = False
    left: asyncio.Event = field(default_factory=asyncio.Event)

    async def __aenter__(self) -> Self:
        if self.language_model.refusal:
            raise self.language_model.refusal
        self.language_model.arrived.set()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.left.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> TextDelta | ToolCall:
        if self.position == len(self.language_model.pieces):
            if self.language_model.is_endless:
                await asyncio.Event().wait()
            raise StopAsyncIteration
        piece = self.language_model.pieces[self.position]
        if isinstance(piece, Exception):
            raise piece
        self.position += 1
        return piece

    def cancel(self) -> None:
        self.is_cancelled = True

    @property
    def ending(self) -> Ending:
        return self.language_model.ending


@dataclass
class FakeLanguageModel:
    """Says the pieces of a test."""

    pieces: Sequence[TextDelta | ToolCall | Exception] = (TextDelta("Good "), TextDelta("day."))
    is_endless: bool = False  # never says that it is done
    ending: Ending = field(default_factory=Ending)
    refusal: Exception | None = None
    asked: list[tuple[Sequence[Message], Sequence[Tool], Sampling]] = field(default_factory=list)
    answers: list[FakeReply] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    def reply(self, messages: Sequence[Message], tools: Sequence[Tool], sampling: Sampling) -> Any:
        self.asked.append((messages, tools, sampling))
        self.answers.append(FakeReply(self))
        return self.answers[-1]


@dataclass
class Served:
    """A listening engine server and what is behind it."""

    url: str
    http: ClientSession  # its base is the server's URL
    access: Access
    recognizer: FakeRecognizer
    language_model: Any  # a FakeLanguageModel, unless the test brings another
    synthesizer: FakeSynthesizer


Serve = Callable[..., AbstractAsyncContextManager[Served]]


@pytest.fixture
def serve() -> Serve:
    """`async with serve(**settings) as served`: with these settings, and another language model if given."""

    @asynccontextmanager
    async def start(language_model: Any = None, **settings: Any) -> AsyncIterator[Served]:
        recognizer, synthesizer = FakeRecognizer(), FakeSynthesizer()
        language_model = language_model or FakeLanguageModel()
        synthesizer.gate.set()
        config = EngineServerConfig(port=0, **settings)
        access = Access(config)
        models = Models(
            asr=Model("asr-1", "transcription", 1), llm=Model("llm-1", "chat", 1), tts=Model("tts-1", "speech", 1)
        )
        app = application(config, access, models, recognizer, language_model, synthesizer)
        async with (
            asyncio.timeout(PATIENCE_S),
            serve_http(app, config.host, config.port, cancels_with_client=True) as url,
            ClientSession(url, timeout=ClientTimeout(total=PATIENCE_S)) as http,
        ):
            yield Served(url, http, access, recognizer, language_model, synthesizer)

    return start


@pytest.fixture
async def served(serve: Serve) -> AsyncIterator[Served]:
    async with serve() as served:
        yield served
