"""`/v1/realtime`: transcription over a web socket in vLLM's protocol.

What a client may rely on beyond vLLM: audio that is sent before `done` of the utterance before is kept for the next
one, and a final commit without a beginning transcribes what was sent so far.
"""

import base64
import binascii
import secrets
import time
from typing import Any

import numpy as np
from aiohttp import web
from numpy.typing import NDArray

from agent.engine_server.config import EngineServerConfig
from agent.engine_server.errors import ApiError, api_error
from agent.engine_server.metrics import EngineMetrics
from agent.engine_server.models import Model
from agent.engine_server.sockets import JsonSocket, NotJson, Sockets
from agent.engine_server.transcribing import Delta, Done, Failed, TooMuchAudio, Transcribing
from asr.interface import SAMPLE_RATE_HZ, RecognitionError, Recognizer

PATH = "/v1/realtime"

_STEPS_PER_S = 12.5  # what counts as a token of audio


class Realtime:
    """The route of the ears."""

    def __init__(
        self,
        recognizer: Recognizer,
        model: Model,
        config: EngineServerConfig,
        metrics: EngineMetrics,
        sockets: Sockets,
    ) -> None:
        self._recognizer = recognizer
        self._model = model
        self._config = config
        self._metrics = metrics
        self._sockets = sockets

    def routes(self) -> list[web.RouteDef]:
        """For an aiohttp application."""
        return [web.get(PATH, self._transcribe)]

    async def _transcribe(self, request: web.Request) -> web.StreamResponse:
        response, socket = await self._sockets.accept(request)
        session = _Session(socket, self._model, self._metrics)
        limit_s = self._config.uncommitted_audio_s
        async with Transcribing(self._recognizer, session.deliver, uncommitted_audio_s=limit_s) as transcribing:
            await session.run(transcribing)
        return response


class _Session:
    """One socket's conversation."""

    def __init__(self, socket: JsonSocket, model: Model, metrics: EngineMetrics) -> None:
        self._socket = socket
        self._model = model
        self._metrics = metrics
        self._is_validated = False

    async def run(self, transcribing: Transcribing) -> None:
        """Until the client leaves. An error of the client's is answered, and the next message read."""
        await self._socket.send(
            {"type": "session.created", "id": f"sess-{secrets.token_hex(12)}", "created": int(time.time())}
        )
        async for message in self._socket.messages():
            try:
                if isinstance(message, NotJson):
                    raise ApiError(400, str(message), code="invalid_json")
                await self._take(message, transcribing)
            except ApiError as error:
                await self._fail(error)
            except RecognitionError as error:
                await self._fail(api_error(error))

    async def deliver(self, event: Delta | Done | Failed) -> None:
        """Tell the client what was recognised."""
        match event:
            case Delta(text):
                await self._socket.send({"type": "transcription.delta", "delta": text})
            case Done(text, audio_s):
                self._metrics.utterance()
                await self._socket.send({"type": "transcription.done", "text": text, "usage": usage_of(audio_s)})
            case Failed(error):
                await self._fail(api_error(error))

    async def _take(self, message: dict[str, Any], transcribing: Transcribing) -> None:
        match message.get("type"):
            case "session.update":
                self._validate(message.get("model"))
            case "input_audio_buffer.append":
                self._append(message.get("audio"), transcribing)
            case "input_audio_buffer.commit":
                if not self._is_validated:
                    raise ApiError(400, "name the model first: session.update", code="model_not_validated")
                if message.get("final"):
                    await transcribing.end()
                else:
                    await transcribing.begin()
            case unknown:
                known = "session.update, input_audio_buffer.append and input_audio_buffer.commit"
                raise ApiError(400, f"wanted {known}, found {unknown!r}", code="unknown_event")

    def _validate(self, model: object) -> None:
        if not isinstance(model, str):
            raise ApiError(400, "session.update wants a model: see /v1/models", code="invalid_event")
        self._model.check(model)
        self._is_validated = True

    def _append(self, audio: object, transcribing: Transcribing) -> None:
        samples = pcm16_samples(audio)
        try:
            transcribing.push(samples)
        except TooMuchAudio as error:
            raise ApiError(400, str(error), code="invalid_audio") from error
        self._metrics.heard(len(samples) / SAMPLE_RATE_HZ)

    async def _fail(self, error: ApiError) -> None:
        """vLLM's own codes for what the client did wrong, ours for what the engine did."""
        code = "processing_error" if error.code == "engine_failed" else error.code
        await self._socket.send({"type": "error", "error": str(error), "code": code})


def usage_of(audio_s: float) -> dict[str, int]:
    """The audio as tokens of 80 ms; those of the text are the engine's own affair and told as 0."""
    steps = round(audio_s * _STEPS_PER_S)
    return {"prompt_tokens": steps, "completion_tokens": 0, "total_tokens": steps}


def pcm16_samples(audio: object) -> NDArray[np.float32]:
    """Base64 of little-endian 16-bit PCM as samples [S] in [-1, 1).

    Raises:
        ApiError: 400, not that.
    """
    try:
        pcm = base64.b64decode(audio, validate=True) if isinstance(audio, str) else b""
    except binascii.Error:
        pcm = b""
    if not pcm or len(pcm) % 2:
        raise ApiError(400, "wanted base64 of 16-bit mono PCM at 16 kHz, found something else", code="invalid_audio")
    return np.frombuffer(pcm, "<i2").astype(np.float32) / np.float32(32_768)
