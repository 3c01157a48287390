"""`/v1/audio/speech` and `/v1/audio/voices`, as OpenAI, vLLM-Omni and Mistral have them.

A client that closes the connection cancels its utterance: the handler is cancelled, which leaves the utterance's
context. A client that reads slowly holds it: the engine's lead fills up, and it launches no further frame.
"""

import base64
import json
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from aiohttp import web

from agent.engine_server.audio import encode, resample, wav_header
from agent.engine_server.errors import engine_errors, error_object, refusal_of
from agent.engine_server.metrics import EngineMetrics
from agent.engine_server.models import Model
from agent.engine_server.speech.request import SAMPLE_RATE_HZ, SpeechRequest
from agent.settings.engine_server import EngineServerConfig
from tts.interface import SynthesisError, Synthesizer, Utterance, Voice
from webrtc.http.bodies import read_json
from webrtc.http.errors import RequestRefused
from webrtc.http.streaming import StreamedResponse

PATH = "/v1/audio/speech"
VOICES_PATH = "/v1/audio/voices"

_FRAME_SAMPLES = SAMPLE_RATE_HZ * 80 // 1000  # what counts as a token of speech
_NEVER = "1970-01-01T00:00:00Z"  # Mistral's client insists on when a voice was made


class SpeechRoutes:
    """The routes of the synthesizer."""

    def __init__(
        self, synthesizer: Synthesizer, model: Model, config: EngineServerConfig, metrics: EngineMetrics
    ) -> None:
        self._synthesizer = synthesizer
        self._model = model
        self._config = config
        self._metrics = metrics

    def routes(self) -> list[web.RouteDef]:
        """For an aiohttp application."""
        return [web.post(PATH, self._speak), web.get(VOICES_PATH, self._voices)]

    async def _speak(self, request: web.Request) -> web.StreamResponse:
        asked = await read_json(
            request, SpeechRequest, max_bytes=self._config.max_body_bytes, timeout_s=self._config.body_timeout_s
        )
        self._model.check(asked.model)
        voice = self._voice(asked)
        language = asked.language or voice.language
        started_s = time.perf_counter()
        with engine_errors():
            async with self._synthesizer.speak(asked.input, voice=voice.name, language=language) as utterance:
                answer = _SpokenAnswer(asked, self._blocks(utterance, asked))
                async with aclosing(answer.pieces()) as pieces:
                    if asked.delivery == "whole":
                        return answer.assemble([piece async for piece in pieces])
                    first = await anext(pieces, b"")  # until then an error still has a status
                    self._metrics.observe_first_output(PATH, time.perf_counter() - started_s)
                    return await self._stream(request, answer, first, pieces)

    async def _stream(
        self, request: web.Request, answer: "_SpokenAnswer", first: bytes, pieces: AsyncGenerator[bytes, None]
    ) -> web.StreamResponse:
        streamed = StreamedResponse(request, answer.content_type, self._config.write_timeout_s)
        await streamed.send(answer.wrap(first))
        try:
            async for piece in pieces:
                await streamed.send(answer.wrap(piece))
        except SynthesisError as error:
            if not (event := answer.error_event(refusal_of(error))):
                return streamed.break_off()
            await streamed.send(event)
        else:
            if event := answer.done_event():
                await streamed.send(event)
        return await streamed.end()

    async def _blocks(self, utterance: Utterance, asked: SpeechRequest) -> AsyncGenerator[bytes, None]:
        """The utterance, encoded."""
        rate = asked.sample_rate
        async with aclosing(resample(utterance, self._synthesizer.sample_rate_hz, rate)) as blocks:
            async for samples in blocks:
                self._metrics.count_spoken(len(samples) / rate)
                yield encode(samples, asked.encoding)

    def _voice(self, asked: SpeechRequest) -> Voice:
        """The voice that was named, in any case of its letters; else the first of the language."""
        voices = self._synthesizer.voices
        name = asked.voice_name
        if name is not None:
            # An unknown name is left to the engine, which lists the nearest ones.
            known = {voice.name.lower(): voice for voice in voices}
            return known.get(name.lower()) or Voice(name, asked.language or voices[0].language)
        for voice in voices:
            if asked.language in (None, voice.language):
                return voice
        raise RequestRefused(
            400, f"no voice speaks {asked.language}: see {VOICES_PATH}", code="language_not_supported", param="language"
        )

    async def _voices(self, _: web.Request) -> web.Response:
        voices = self._synthesizer.voices
        items = [
            {
                "id": voice.name,
                "name": voice.name,
                "languages": [voice.language],
                "description": voice.description,
                "type": "preset",
                "created_at": _NEVER,
                "user_id": None,
            }
            for voice in voices
        ]
        page = {"total": len(items), "page": 1, "page_size": len(items), "total_pages": 1}
        # `voices` and `uploaded_voices` are vLLM-Omni's, the rest is Mistral's, which tells the languages, too.
        names = [voice.name for voice in voices]
        return web.json_response({"voices": names, "uploaded_voices": [], "items": items, **page})


class _SpokenAnswer:
    """One request's audio in its dialect."""

    def __init__(self, asked: SpeechRequest, blocks: AsyncGenerator[bytes, None]) -> None:
        self._asked = asked
        self._blocks = blocks
        self._audio_bytes = 0

    @property
    def content_type(self) -> str:
        if self._asked.delivery == "events":
            return "text/event-stream"
        return "audio/wav" if self._asked.is_wav else "audio/pcm"

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """The encoded blocks, a header joined to the first of them if the rest is not waited for."""
        head = wav_header(self._asked.sample_rate, None) if self._asked.is_wav else b""
        if self._asked.delivery == "whole":
            head = b""
        async with aclosing(self._blocks) as blocks:
            async for block in blocks:
                self._audio_bytes += len(block)
                yield head + block
                head = b""

    def assemble(self, pieces: list[bytes]) -> web.Response:
        """All of it at once."""
        audio = b"".join(pieces)
        if self._asked.is_wav:
            audio = wav_header(self._asked.sample_rate, len(audio)) + audio
        if self._asked.is_mistral:
            return web.json_response({"audio_data": base64.b64encode(audio).decode("ascii")})
        return web.Response(body=audio, content_type=self.content_type)

    def wrap(self, piece: bytes) -> bytes:
        """A piece as it is sent."""
        if self._asked.delivery == "raw":
            return piece
        audio = base64.b64encode(piece).decode("ascii")
        if self._asked.is_mistral:
            return _event({"type": "speech.audio.delta", "audio_data": audio})
        response_format = "wav" if self._asked.is_wav else "pcm"
        return _event({"type": "speech.audio.delta", "audio": audio, "response_format": response_format})

    def done_event(self) -> bytes:
        """What is sent after the last piece."""
        if self._asked.delivery == "raw":
            return b""
        sample_bytes = 4 if self._asked.encoding == "pcm_f32le" else 2
        seconds = self._audio_bytes / sample_bytes / self._asked.sample_rate
        frames = round(seconds * SAMPLE_RATE_HZ / _FRAME_SAMPLES)
        names = ("prompt_tokens", "completion_tokens") if self._asked.is_mistral else ("input_tokens", "output_tokens")
        # The text's tokens are not counted by the engine: 0.
        usage = {names[0]: 0, names[1]: frames, "total_tokens": frames}
        return _event({"type": "speech.audio.done", "usage": usage})

    def error_event(self, error: RequestRefused) -> bytes:
        """What is sent when the rest cannot be spoken; nothing if the dialect has no words for it."""
        if self._asked.delivery == "raw":
            return b""
        return _event({"type": "speech.audio.error", "error": error_object(error)})


def _event(data: dict[str, Any]) -> bytes:
    return f"event: {data['type']}\ndata: {json.dumps(data)}\n\n".encode()
