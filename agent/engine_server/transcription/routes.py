"""The routes of transcription over a web socket, in the protocol of vLLM and in Mistral's."""

from collections.abc import Mapping
from typing import Any, Protocol

from aiohttp import WSCloseCode, web

from agent.engine_server.errors import refusal_of
from agent.engine_server.metrics import EngineMetrics
from agent.engine_server.models import Model
from agent.engine_server.transcription.mistral import MistralDialect
from agent.engine_server.transcription.transcriber import Delta, Done, Failed, TooMuchAudio, Transcriber
from agent.engine_server.transcription.vllm import VllmDialect
from agent.settings.engine_server import EngineServerConfig
from asr.interface import RecognitionError, Recognizer
from webrtc.http.errors import RequestRefused
from webrtc.http.sockets import JsonSocket, JsonSockets, NotJson

PATH = "/v1/realtime"
MISTRAL_PATH = "/v1/audio/transcriptions/realtime"


class Dialect(Protocol):
    """One socket's protocol: its messages in the words of `Transcriber`, and back."""

    def greeting(self) -> Mapping[str, Any]:
        """What the server says first."""
        ...

    async def take(self, message: Mapping[str, Any], transcriber: Transcriber) -> Mapping[str, Any] | None:
        """Do what a message of the client's says; returns the answer, if it has one at once.

        Raises:
            RequestRefused, RecognitionError, TooMuchAudio: it cannot be done; the client may go on.
        """
        ...

    def delta(self, delta: Delta) -> Mapping[str, Any]:
        """The message of more text."""
        ...

    def done(self, done: Done) -> Mapping[str, Any]:
        """The message of a complete text."""
        ...

    def error(self, error: RequestRefused) -> Mapping[str, Any]:
        """The message of an error."""
        ...

    @property
    def is_over(self) -> bool:
        """Whether the client has said that it wants nothing more, and has everything."""
        ...


class TranscriptionRoutes:
    """Both routes, over one recognizer."""

    def __init__(
        self,
        recognizer: Recognizer,
        model: Model,
        config: EngineServerConfig,
        metrics: EngineMetrics,
        sockets: JsonSockets,
    ) -> None:
        self._recognizer = recognizer
        self._model = model
        self._config = config
        self._metrics = metrics
        self._sockets = sockets

    def routes(self) -> list[web.RouteDef]:
        """For an aiohttp application."""
        return [web.get(PATH, self._as_vllm), web.get(MISTRAL_PATH, self._as_mistral)]

    async def _as_vllm(self, request: web.Request) -> web.StreamResponse:
        return await self._converse(request, VllmDialect(self._model))

    async def _as_mistral(self, request: web.Request) -> web.StreamResponse:
        self._model.check(request.query.get("model"))
        return await self._converse(request, MistralDialect(self._model))

    async def _converse(self, request: web.Request, dialect: Dialect) -> web.StreamResponse:
        response, socket = await self._sockets.accept(request)
        session = _Session(socket, dialect, self._metrics)
        limit_s = self._config.uncommitted_audio_s
        async with Transcriber(
            self._recognizer, session.deliver, self._metrics.count_heard, uncommitted_audio_s=limit_s
        ) as transcriber:
            await session.run(transcriber)
        return response


class _Session:
    """One socket's conversation."""

    def __init__(self, socket: JsonSocket, dialect: Dialect, metrics: EngineMetrics) -> None:
        self._socket = socket
        self._dialect = dialect
        self._metrics = metrics

    async def run(self, transcriber: Transcriber) -> None:
        """Until one of the two leaves. An error of the client's is answered, and the next message read."""
        await self._socket.send(self._dialect.greeting())
        async for message in self._socket.messages():
            try:
                if isinstance(message, NotJson):
                    raise RequestRefused(400, str(message), code="invalid_json")
                if answer := await self._dialect.take(message, transcriber):
                    await self._socket.send(answer)
            except TooMuchAudio as error:
                await self._fail(RequestRefused(400, str(error), code="invalid_audio"))
            except RecognitionError as error:
                await self._fail(refusal_of(error))
            except RequestRefused as error:
                await self._fail(error)
            await self._end_if_over()

    async def deliver(self, event: Delta | Done | Failed) -> None:
        """Send the client what was recognized."""
        match event:
            case Delta():
                await self._socket.send(self._dialect.delta(event))
            case Done():
                self._metrics.count_utterance()
                await self._socket.send(self._dialect.done(event))
            case Failed(error):
                await self._fail(refusal_of(error))
        await self._end_if_over()

    async def _fail(self, error: RequestRefused) -> None:
        await self._socket.send(self._dialect.error(error))

    async def _end_if_over(self) -> None:
        if self._dialect.is_over:
            await self._socket.close(WSCloseCode.OK)
