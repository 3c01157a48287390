"""Requests that are not served, and how their clients learn it: a status, and an `error` in JSON.

Errors::

    RequestRefused            the request is not served; status and message say why
    |- OriginRefused          403, a page of another origin
    |- TokenRejected          401, a token that is not ours, or too old
    CannotListen              the host and port of a server are taken, forbidden or not of this machine
    ClientGone                the client takes nothing of its answer any more
"""

import logging
import math
from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web

GONE = 499  # nginx's word for a client that left; only the metrics see it

_CODES: Mapping[int, str] = {404: "not_found", 405: "method_not_allowed", 413: "too_large"}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_log = logging.getLogger(__name__)


class RequestRefused(Exception):
    """A request that is not served.

    Args:
        status: of HTTP.
        message: what was wanted, found and to do; one line.
        code: for programs.
        param: the field of the request that is to blame.
        retry_after_s: when to try again.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str = "error",
        param: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.param = param
        self.retry_after_s = retry_after_s


class OriginRefused(RequestRefused):
    """A page of this origin may not ask."""

    def __init__(self, message: str) -> None:
        super().__init__(403, message, code="origin")


class TokenRejected(RequestRefused):
    """The token permits nothing."""

    def __init__(self, message: str) -> None:
        super().__init__(401, message, code="invalid_token")


class CannotListen(Exception):
    """The host and port cannot be listened on."""


class ClientGone(ConnectionError):
    """The client takes nothing of its answer any more."""


async def answer(
    request: web.Request, handler: Handler, *, describe: Callable[[RequestRefused], object] = str
) -> web.StreamResponse:
    """The handler's answer, or else its error in JSON.

    Args:
        request: what is asked.
        handler: of it.
        describe: an error as the value of `error`; by default its message.
    """
    try:
        return await handler(request)
    except RequestRefused as refused:
        if refused.status == 500:
            _log.warning("%s: %s", request.path, refused)
        return _refusal(refused, describe)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        message = " ".join((error.text or error.reason).split())
        return _refusal(RequestRefused(error.status, message, code=_CODES.get(error.status, "error")), describe)
    except ConnectionError:
        return web.Response(status=GONE)
    except Exception:
        _log.exception("%s failed", request.path)
        failure = RequestRefused(500, "the server failed: see its log", code="internal_error")
        return _refusal(failure, describe)


def _refusal(refused: RequestRefused, describe: Callable[[RequestRefused], object]) -> web.Response:
    headers: dict[str, str] = {}
    if refused.retry_after_s is not None:
        headers["Retry-After"] = str(math.ceil(refused.retry_after_s))
    if refused.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return web.json_response({"error": describe(refused)}, status=refused.status, headers=headers)
