"""What can go wrong between here and a server, whatever is asked of it.

Errors::

    EndpointError
    |- EndpointBusy           429 or 503: too much is asked of it just now
    |- EndpointUnreachable    no connection, no answer in time, 5xx, a broken or malformed answer
    |- EndpointRefused        it will not do this: key, model, or what was sent; `status` says which
"""

import json
import re
from collections.abc import Mapping
from typing import Any, cast

_LONGEST_MESSAGE = 200  # characters of the server's own words
_PERMANENT_5XX = (501, 505)


class EndpointError(Exception):
    """A server could not be used; `retry_after_s` is when to try again, None if that is of no use."""

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class EndpointBusy(EndpointError):
    """The server has too much to do."""


class EndpointUnreachable(EndpointError):
    """The server does not answer, or not as its protocol wants it."""


class EndpointRefused(EndpointError):
    """The server will not do what was asked, however often it is asked."""

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


def refusal(url: str, status: int, headers: Mapping[str, str], body: str, key_env: str | None) -> EndpointError:
    """The error that an answer of status 400 or more stands for.

    Args:
        url, status, headers, body: of the answer; of the body only a message meant for people is repeated.
        key_env: the environment variable of the key that was sent, None if none was.
    """
    said = said_by(body)
    found = f"{url} answered {status}" + (f" ({said})" if said else "")
    if status in (401, 403):
        remedy = f"check the key in {key_env}" if key_env else "name the variable with its key in api_key_env"
        if status == 403:
            remedy += ", what it may do, and whether the text was moderated"
        return EndpointRefused(f"{found}: {remedy}", status=status)
    if status in (429, 503):
        wait_s = _seconds(headers.get("Retry-After"))
        when = f" in {wait_s:g} s" if wait_s else ""
        return EndpointBusy(f"{found}: try again later{when}, or elsewhere", retry_after_s=wait_s or 0.0)
    if status >= 500 and status not in _PERMANENT_5XX:
        return EndpointUnreachable(f"{found}: look at the server's log", retry_after_s=0.0)
    return EndpointRefused(f"{found}: check base_url, model and what was sent", status=status)


def said_by(body: str) -> str:
    """The message for people in an error body of any dialect, "" if there is none; lists may echo what was sent."""
    try:
        found: Any = json.loads(body)
    except ValueError:
        return ""
    for key in ("error", "message", "detail"):
        while isinstance(found, dict) and key in found:
            found = cast(dict[str, Any], found)[key]
    return re.sub(r"\s+", " ", found)[:_LONGEST_MESSAGE].strip() if isinstance(found, str) else ""


def _seconds(retry_after: str | None) -> float | None:
    """Retry-After in seconds; its other form, a date, is not worth a clock that may be wrong."""
    try:
        return max(0.0, float(retry_after or ""))
    except ValueError:
        return None
