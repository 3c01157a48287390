"""Mistral's protocol of realtime transcription. `text` of `transcription.done` is what was said since the last one.

What a client would miss is refused: another rate than 16 kHz, diarization, turn detection by the server. The delay is
a setting of the engine, and the language is recognized, so wishes about these are ignored.
"""

import secrets
from collections.abc import Mapping
from typing import Any, cast, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agent.engine_server.audio import PcmEncoding, decode
from agent.engine_server.models import Model
from agent.engine_server.transcription.transcriber import Delta, Done, Transcriber
from asr.interface import SAMPLE_RATE_HZ
from webrtc.http.errors import RequestRefused

_KNOWN = "session.update, input_audio.append, input_audio.flush and input_audio.end"


class _AudioFormat(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    encoding: PcmEncoding = "pcm_s16le"
    sample_rate: int = Field(default=SAMPLE_RATE_HZ, ge=SAMPLE_RATE_HZ, le=SAMPLE_RATE_HZ)


class MistralDialect:
    """See `agent.engine_server.transcription.routes.Dialect`."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._request_id = secrets.token_hex(16)
        self._format = _AudioFormat()
        self._has_audio = False
        self._is_open = False  # an utterance has audio that no flush has followed
        self._awaited = 0  # flushes without their `done`
        self._has_ended = False

    @property
    def is_over(self) -> bool:
        """Whether the client has ended its audio and has all its text."""
        return self._has_ended and self._awaited == 0

    def greeting(self) -> Mapping[str, Any]:
        """The session."""
        return {"type": "session.created", "session": self._session()}

    async def take(self, message: Mapping[str, Any], transcriber: Transcriber) -> Mapping[str, Any] | None:
        """Only a change of the session is answered at once."""
        match message.get("type"):
            case "session.update":
                self._update(message.get("session"))
                return {"type": "session.updated", "session": self._session()}
            case "input_audio.append":
                samples = decode(message.get("audio"), self._format.encoding)
                self._has_audio = self._is_open = True
                await transcriber.begin()
                transcriber.push(samples)
            case "input_audio.flush":
                await self._flush(transcriber)
            case "input_audio.end":
                self._has_ended = True
                if self._is_open or not self._has_audio:
                    await self._flush(transcriber)
            case unknown:
                raise RequestRefused(400, f"wanted {_KNOWN}, found {unknown!r}", code="unknown_event")
        return None

    def delta(self, delta: Delta) -> Mapping[str, Any]:
        """More text."""
        return {"type": "transcription.text.delta", "text": delta.text}

    def done(self, done: Done) -> Mapping[str, Any]:
        """The whole text."""
        self._awaited -= 1
        usage = {"prompt_audio_seconds": round(done.audio_s)}
        return {
            "type": "transcription.done",
            "model": self._model.id,
            "text": done.text,
            "language": None,
            "segments": [],
            "usage": usage,
        }

    def error(self, error: RequestRefused) -> Mapping[str, Any]:
        """An error; if it is the engine's, what was flushed is lost with it."""
        if error.status >= 500:
            self._awaited, self._is_open = 0, False
        return {"type": "error", "error": {"message": str(error), "code": error.status}}

    async def _flush(self, transcriber: Transcriber) -> None:
        self._is_open = False
        self._awaited += 1
        await transcriber.end()

    def _update(self, session: object) -> None:
        asked = cast(dict[str, Any], session) if isinstance(session, dict) else {}
        for name in ("diarize", "turn_detection"):
            if asked.get(name):
                raise RequestRefused(400, f"{name} is not known here: leave it out", code="invalid_request")
        if (audio_format := asked.get("audio_format")) is None:
            return
        if self._has_audio:
            raise RequestRefused(
                400, "the format cannot change once audio was sent: open another", code="invalid_request"
            )
        try:
            self._format = _AudioFormat.model_validate(audio_format)
        except ValidationError:
            known = ", ".join(get_args(PcmEncoding))
            raise RequestRefused(
                400, f"wanted one of {known} at {SAMPLE_RATE_HZ} Hz: convert it first", code="invalid_request"
            ) from None

    def _session(self) -> dict[str, Any]:
        return {
            "request_id": self._request_id,
            "model": self._model.id,
            "audio_format": self._format.model_dump(),
            "target_streaming_delay_ms": None,
        }
