"""Errors of engines as refused requests, and those in the words that clients of OpenAI's protocols expect."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from asr import interface as asr
from asr.interface import RecognitionError
from llm import interface as llm
from llm.interface import ContextTooLong, LanguageModelError
from tts import interface as tts
from tts.interface import SynthesisError, TextRejected, VoiceNotFound
from webrtc.http.errors import RequestRefused

_BUSY = (asr.EngineBusy, llm.EngineBusy, tts.EngineBusy)
_BUSY_RETRY_S = 1.0
_CODES: dict[type[Exception], str] = {
    ContextTooLong: "context_length_exceeded",
    VoiceNotFound: "voice_not_found",
    asr.LanguageNotSupported: "language_not_supported",
    tts.LanguageNotSupported: "language_not_supported",
    TextRejected: "text_rejected",
}


def error_object(refused: RequestRefused) -> dict[str, Any]:
    """The value of `error`, as OpenAI's clients expect it."""
    kind = "server_error" if refused.status >= 500 else "invalid_request_error"
    return {"message": str(refused), "type": kind, "param": refused.param, "code": refused.code}


def refusal_of(error: RecognitionError | SynthesisError | LanguageModelError) -> RequestRefused:
    """What an error of an engine means to a client."""
    message = " ".join(str(error).split())
    if isinstance(error, _BUSY):
        return RequestRefused(503, message, code="engine_busy", retry_after_s=_BUSY_RETRY_S)
    if code := _CODES.get(type(error)):
        return RequestRefused(400, message, code=code)
    return RequestRefused(500, message, code="engine_failed")


@contextmanager
def engine_errors() -> Generator[None, None, None]:
    """Within it, an error of an engine becomes a RequestRefused."""
    try:
        yield
    except (RecognitionError, SynthesisError, LanguageModelError) as error:
        raise refusal_of(error) from error
