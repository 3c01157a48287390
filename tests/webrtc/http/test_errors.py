"""Requests that are not served: status, JSON, headers, and what a failure of ours reveals."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from aiohttp import web

from webrtc.http.errors import OriginRefused, RequestRefused, TokenRejected

Serve = Callable[..., AbstractAsyncContextManager[Any]]


def raising(error: Exception) -> Callable[[web.Request], Any]:
    async def handler(_: web.Request) -> web.StreamResponse:
        raise error

    return handler


async def test_each_error_has_its_status_its_line_and_its_headers(serve: Serve) -> None:
    cases: list[tuple[Exception, int, str, dict[str, str]]] = [
        (RequestRefused(429, "too many", retry_after_s=1.2), 429, "too many", {"Retry-After": "2"}),
        (TokenRejected("not ours"), 401, "not ours", {"WWW-Authenticate": "Bearer"}),
        (OriginRefused("not here"), 403, "not here", {}),
        (web.HTTPNotFound(), 404, "404: Not Found", {}),
        (ZeroDivisionError("a secret"), 500, "the server failed: see its log", {}),
    ]
    for error, status, line, headers in cases:
        async with serve(raising(error)) as client, client.get("/") as response:
            assert (response.status, await response.json()) == (status, {"error": line})
            assert headers.items() <= dict(response.headers).items()
            assert ("Retry-After" in response.headers) == ("Retry-After" in headers)


async def test_a_dialect_describes_every_error(serve: Serve) -> None:
    def describe(refused: RequestRefused) -> object:
        return [refused.code, refused.param, str(refused)]

    cases = [
        (RequestRefused(400, "no", code="wrong", param="x"), ["wrong", "x", "no"]),
        (web.HTTPNotFound(text="none\nhere"), ["not_found", None, "none here"]),
        (ZeroDivisionError("a secret"), ["internal_error", None, "the server failed: see its log"]),
    ]
    for error, described in cases:
        async with serve(raising(error), describe) as client, client.get("/") as response:
            assert (await response.json())["error"] == described


async def test_a_redirection_is_no_error(serve: Serve) -> None:
    async with serve(raising(web.HTTPFound("/x"))) as client, client.get("/", allow_redirects=False) as response:
        assert (response.status, response.headers["Location"]) == (302, "/x")


async def test_only_failures_are_logged(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    for error in (RequestRefused(400, "wrong"), RequestRefused(503, "busy"), web.HTTPNotFound()):
        async with serve(raising(error)) as client, client.get("/"):
            pass
    assert not caplog.records
    for error in (RequestRefused(500, "broken"), ZeroDivisionError("a bug")):
        async with serve(raising(error)) as client, client.get("/"):
            pass
    assert [record.getMessage() for record in caplog.records] == ["/: broken", "/ failed"]
    assert caplog.records[1].exc_info is not None
