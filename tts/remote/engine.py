"""Speech from a server of someone else's, whatever dialect of `POST /v1/audio/speech` it speaks.

Not through the `openai` client, which does not know the events of vLLM-Omni, nor through `mistralai`, whose parser of
events walks their bytes in Python: 50 ms of the event loop for each second of speech.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing, asynccontextmanager
from types import TracebackType
from typing import Any, Protocol, Self

from pydantic import SecretStr

from llm.endpoint.cancellable import Abandoned, Waiting
from llm.endpoint.client import Endpoint, HttpAnswer
from llm.endpoint.errors import EndpointBusy, EndpointError, EndpointUnreachable
from tts.chunks import ChunkCutter, SpeakingRate
from tts.config import MistralSpeechConfig, OmniSpeechConfig
from tts.interface import (
    EngineBusy,
    EngineUnreachable,
    LanguageNotSupported,
    SpeechChunk,
    SynthesisError,
    TextRejected,
    Utterance,
    Voice,
)
from tts.remote.samples import SampleReader
from tts.voices import LANGUAGES, find_voice

SAMPLE_RATE_HZ = 24_000

Blocks = AsyncGenerator[bytes, None]
OpenSpeech = Callable[[], AbstractAsyncContextManager[Blocks]]


class SpeechDialect(Protocol):
    """What differs between the servers."""

    async def voices(self, endpoint: Endpoint) -> Sequence[Voice]:
        """The voices that the server offers."""
        ...

    def request(self, text: str, voice: str) -> Mapping[str, Any]:
        """The body of a request to speak a text."""
        ...

    def audio(self, answer: HttpAnswer) -> Blocks:
        """The bytes of the samples in an answer, in blocks of any size."""
        ...

    def reader(self) -> SampleReader:
        """Makes samples of these bytes, for one utterance."""
        ...


class RemoteSynthesizer:
    """The voices of a speech server, for many calls. Use as `async with`."""

    def __init__(
        self, config: OmniSpeechConfig | MistralSpeechConfig, dialect: SpeechDialect, key: SecretStr | None = None
    ) -> None:
        self._config = config
        self._dialect = dialect
        self._endpoint = Endpoint(config, key)
        self._voices: Sequence[Voice] = ()
        self._rate = SpeakingRate()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Connect and ask for the voices.

        Raises:
            SynthesisError: the server is not there, refuses the key, or has no voices.
        """
        async with AsyncExitStack() as stack:
            try:
                endpoint = await stack.enter_async_context(self._endpoint)
                self._voices = await self._dialect.voices(endpoint)
            except EndpointError as error:
                raise synthesis_error(error) from None
            if not self._voices:
                raise SynthesisError(f"{self._config.base_url} lists no voices: look at its model")
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    @property
    def sample_rate_hz(self) -> int:
        """Rate of every chunk's samples."""
        return SAMPLE_RATE_HZ

    @property
    def voices(self) -> Sequence[Voice]:
        """The voices on offer, in the server's order."""
        return self._voices

    def speak(self, text: str, *, voice: str, language: str) -> Utterance:
        """An utterance of `text`; see `tts.interface.Synthesizer`."""
        name = find_voice(voice, self._voices).name
        if language.replace("_", "-").partition("-")[0].lower() not in LANGUAGES:
            raise LanguageNotSupported(f"no voice speaks {language!r}: choose one of {', '.join(sorted(LANGUAGES))}")
        if not text.strip():
            raise TextRejected("the text is empty: give at least one word")
        if len(text) > self._config.max_characters:
            raise TextRejected(
                f"the text has {len(text)} characters, at most {self._config.max_characters} fit: cut it into sentences"
            )
        body = self._dialect.request(text, name)
        return RemoteUtterance(
            text, lambda: self._open(body), self._dialect.reader(), self._rate, self._config.stall_timeout_s
        )

    @asynccontextmanager
    async def _open(self, body: Mapping[str, Any]) -> AsyncGenerator[Blocks, None]:
        async with self._endpoint.post("audio/speech", body) as answer, aclosing(self._read(answer)) as blocks:
            yield blocks

    async def _read(self, answer: HttpAnswer) -> Blocks:
        async with aclosing(self._dialect.audio(answer)) as blocks:
            async for block in blocks:
                yield block
        await answer.drain()


class RemoteUtterance(Utterance):
    """One text being spoken, read from the server as it is listened to: a held one holds the server back.

    Args:
        text: what is spoken.
        open_speech: sends the request; its context is left, and the connection closed, when the utterance's own is.
        reader: makes samples of the answer's bytes.
        rate: what is known of the server's pace, for the spans of text.
        stall_s: longest wait for audio while it is wanted.
    """

    def __init__(
        self, text: str, open_speech: OpenSpeech, reader: SampleReader, rate: SpeakingRate, stall_s: float
    ) -> None:
        self._text = text
        self._open_speech = open_speech
        self._reader = reader
        self._rate = rate
        self._stall_s = stall_s
        self._cutter = ChunkCutter(text, rate.frames(len(text)), SAMPLE_RATE_HZ)
        self._waiting = Waiting()
        self._may_run = asyncio.Event()
        self._may_run.set()
        self._blocks: Blocks | None = None  # None before the answer and after its end
        self._ready: deque[SpeechChunk] = deque()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Send the request.

        Raises:
            EngineBusy, EngineUnreachable, SynthesisError: the server's answer, or that none came.
        """
        if not self._waiting.is_cancelled:
            try:
                self._blocks = await self._stack.enter_async_context(self._open_speech())
            except EndpointError as error:
                raise synthesis_error(error) from None
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.cancel()
        await self._waiting.cancel_and_wait()
        await self._stack.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SpeechChunk:
        """The next chunk, at most 80 ms.

        Raises:
            EngineUnreachable: nothing came for too long, or the answer broke off; what was delivered stays right.
            SynthesisError: the answer held no audio.
        """
        while True:
            await self._may_run.wait()
            if self._waiting.is_cancelled:
                raise StopAsyncIteration
            if self._ready:
                return self._ready.popleft()
            if self._blocks is None:
                raise StopAsyncIteration
            await self._take_block(self._blocks)

    def hold(self) -> None:
        """Read and deliver nothing until `resume`."""
        if not self._waiting.is_cancelled:
            self._may_run.clear()

    def resume(self) -> None:
        """Go on where it was held."""
        self._may_run.set()

    def cancel(self) -> None:
        """End it; the connection is closed when its context is left."""
        self._waiting.cancel()
        self._may_run.set()

    async def _take_block(self, blocks: Blocks) -> None:
        try:
            block = await self._waiting.wait(anext(blocks, None), self._stall_s)
        except Abandoned:
            return
        except TimeoutError:
            raise EngineUnreachable(
                f"no speech came for {self._stall_s:g} s in mid-utterance: look at its server"
            ) from None
        except EndpointError as error:
            raise synthesis_error(error) from None
        if block is not None:
            self._ready.extend(self._cutter.add(frame) for frame in self._reader.take(block))
            return
        self._blocks = None
        if (rest := self._reader.rest()).size:
            self._ready.append(self._cutter.add(rest))
        if not self._cutter.frames:
            raise SynthesisError("the server spoke the text with no audio at all: look at its log")
        self._ready.append(self._cutter.last())
        self._rate.learn(len(self._text), self._cutter.frames)


def synthesis_error(error: EndpointError) -> SynthesisError:
    """What an error of the server means to the caller of the synthesizer."""
    if isinstance(error, EndpointBusy):
        return EngineBusy(str(error))
    if isinstance(error, EndpointUnreachable):
        return EngineUnreachable(str(error))
    return SynthesisError(str(error))
