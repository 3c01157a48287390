"""vLLM's protocol of `/v1/realtime`.

What a client may rely on beyond vLLM: audio that is sent before `done` of the utterance before is kept for the next
one, and a final commit without a beginning transcribes what was sent so far.
"""

import secrets
import time
from collections.abc import Mapping
from typing import Any

from agent.engine_server.audio import decode
from agent.engine_server.models import Model
from agent.engine_server.transcription.transcriber import Delta, Done, Transcriber
from webrtc.http.errors import RequestRefused

_STEPS_PER_S = 12.5  # what counts as a token of audio
_KNOWN = "session.update, input_audio_buffer.append and input_audio_buffer.commit"


class VllmDialect:
    """See `agent.engine_server.transcription.routes.Dialect`."""

    is_over = False  # the client closes the socket

    def __init__(self, model: Model) -> None:
        self._model = model
        self._is_validated = False

    def greeting(self) -> Mapping[str, Any]:
        """The session."""
        return {"type": "session.created", "id": f"sess-{secrets.token_hex(12)}", "created": int(time.time())}

    async def take(self, message: Mapping[str, Any], transcriber: Transcriber) -> None:
        """Nothing is answered at once, but errors."""
        match message.get("type"):
            case "session.update":
                self._validate(message.get("model"))
            case "input_audio_buffer.append":
                transcriber.push(decode(message.get("audio"), "pcm_s16le"))
            case "input_audio_buffer.commit":
                if not self._is_validated:
                    raise RequestRefused(400, "name the model first: session.update", code="model_not_validated")
                if message.get("final"):
                    await transcriber.end()
                else:
                    await transcriber.begin()
            case unknown:
                raise RequestRefused(400, f"wanted {_KNOWN}, found {unknown!r}", code="unknown_event")

    def delta(self, delta: Delta) -> Mapping[str, Any]:
        """More text."""
        return {"type": "transcription.delta", "delta": delta.text}

    def done(self, done: Done) -> Mapping[str, Any]:
        """The whole text; the tokens of the text are not counted by the engine: 0."""
        steps = round(done.audio_s * _STEPS_PER_S)
        usage = {"prompt_tokens": steps, "completion_tokens": 0, "total_tokens": steps}
        return {"type": "transcription.done", "text": done.text, "usage": usage}

    def error(self, error: RequestRefused) -> Mapping[str, Any]:
        """vLLM's own codes for what the client did wrong and for a failure; `engine_busy` is ours."""
        code = "processing_error" if error.code == "engine_failed" else error.code
        return {"type": "error", "error": str(error), "code": code}

    def _validate(self, model: object) -> None:
        if not isinstance(model, str):
            raise RequestRefused(400, "session.update wants a model: see /v1/models", code="invalid_event")
        self._model.check(model)
        self._is_validated = True
