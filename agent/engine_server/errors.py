"""Errors as the clients of every protocol here expect them: a status, and an `error` object in JSON."""

import math
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from aiohttp import web

from asr import interface as asr
from asr.interface import RecognitionError
from llm import interface as llm
from llm.interface import ContextTooLong, LanguageModelError
from tts import interface as tts
from tts.interface import SynthesisError, TextRejected, VoiceNotFound

_BUSY = (asr.EngineBusy, llm.EngineBusy, tts.EngineBusy)
_BUSY_RETRY_S = 1.0
_CODES: dict[type[Exception], str] = {
    ContextTooLong: "context_length_exceeded",
    VoiceNotFound: "voice_not_found",
    asr.LanguageNotSupported: "language_not_supported",
    tts.LanguageNotSupported: "language_not_supported",
    TextRejected: "text_rejected",
}


class ApiError(Exception):
    """A request that is not served.

    Args:
        status: of HTTP.
        message: what was wanted, found and to do.
        code: for programs.
        param: the field of the request that is to blame.
        retry_after_s: when to try again.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str,
        param: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self._param = param
        self._retry_after_s = retry_after_s

    def as_json(self) -> dict[str, Any]:
        """The `error` object."""
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        return {"message": str(self), "type": kind, "param": self._param, "code": self.code}

    def response(self) -> web.Response:
        """The answer in place of what was asked."""
        headers = {} if self._retry_after_s is None else {"Retry-After": str(math.ceil(self._retry_after_s))}
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return web.json_response({"error": self.as_json()}, status=self.status, headers=headers)


def api_error(error: RecognitionError | SynthesisError | LanguageModelError) -> ApiError:
    """What an error of an engine means to a client."""
    message = " ".join(str(error).split())
    if isinstance(error, _BUSY):
        return ApiError(503, message, code="engine_busy", retry_after_s=_BUSY_RETRY_S)
    if code := _CODES.get(type(error)):
        return ApiError(400, message, code=code)
    return ApiError(500, message, code="engine_failed")


@contextmanager
def engine_errors() -> Generator[None, None, None]:
    """Within it, an error of an engine becomes an ApiError."""
    try:
        yield
    except (RecognitionError, SynthesisError, LanguageModelError) as error:
        raise api_error(error) from error
