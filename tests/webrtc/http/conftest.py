"""What the tests of the HTTP kit share: one handler behind a real server."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from webrtc.http.errors import Handler, RequestRefused, answer

Client = TestClient[web.Request, web.Application]
Serve = Callable[..., AbstractAsyncContextManager[Client]]


@pytest.fixture
def serve() -> Serve:
    """`async with serve(handler) as client`: the handler answers any method at `/`, its errors are JSON."""

    @asynccontextmanager
    async def start(handler: Handler, describe: Callable[[RequestRefused], object] = str) -> AsyncIterator[Client]:
        async def route(request: web.Request) -> web.StreamResponse:
            return await answer(request, handler, describe=describe)

        app = web.Application()
        app.router.add_route("*", "/", route)
        async with TestClient(TestServer(app)) as client:
            yield client

    return start
