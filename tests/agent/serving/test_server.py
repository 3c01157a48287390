"""The routes of the process, over a real socket, with calls that are never made."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio
from aiohttp import ClientSession

from agent.engines.configure import load_settings
from agent.serving.calls import CallRegistry
from agent.serving.loop_lag import MIN_SAMPLES, LoopLag
from agent.serving.metrics import Metrics
from agent.serving.server import PAGE, application, open_application
from tests.fakes import PATIENCE_S
from webrtc.http.server import serve_http
from webrtc.interface import Call


@dataclass
class Running:
    """A listening server without engines."""

    http: ClientSession  # its base is the server's URL
    registry: CallRegistry
    lag: LoopLag
    metrics: Metrics


@pytest_asyncio.fixture
async def server() -> AsyncIterator[Running]:
    async def run(call: Call) -> None:
        raise AssertionError(f"no call is made here, but {call.id} was")

    settings = load_settings(None, {}, {"webrtc": {"signalling": {"offers_per_minute": 3}}})
    lag = LoopLag(refuse_above_ms=30, readmit_below_ms=15, window_s=1)
    metrics = Metrics()
    async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as group:
        registry = CallRegistry(group, settings.admission, run=run, lag=lag, metrics=metrics)
        app = application(settings, registry, lag, metrics)
        async with serve_http(app, "127.0.0.1", 0) as url, ClientSession(url) as http:
            yield Running(http, registry, lag, metrics)


async def test_the_page_comes_with_a_strict_policy(server: Running) -> None:
    async with server.http.get("/") as response:
        assert response.status == 200
        assert response.content_type == "text/html"
        policy = response.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Cache-Control"] == "no-cache"
        etag = response.headers["ETag"]
    async with server.http.get("/", headers={"If-None-Match": etag}) as response:
        assert response.status == 304


async def test_every_file_of_the_page_is_served(server: Running) -> None:
    files = [path for path in PAGE.rglob("*") if path.suffix in {".html", ".css", ".js", ".svg"}]
    assert files
    for path in files:
        async with server.http.get(f"/{path.relative_to(PAGE)}") as response:
            assert await response.read() == path.read_bytes()


async def test_nothing_else_is_served(server: Running) -> None:
    for path in ["/../config.py", "/%2e%2e/config.py", "/absent.js", "/page/", "/call/"]:
        async with server.http.get(path) as response:
            assert response.status in {403, 404}


async def test_health(server: Running) -> None:
    async with server.http.get("/healthz") as response:
        assert response.status == 200
        assert await response.json() == {"status": "ok", "calls": 0, "loop_lag_p99_ms": 0.0}
        assert response.headers["Cache-Control"] == "no-store"
    for _ in range(MIN_SAMPLES):
        server.lag.add(99.0)
    async with server.http.get("/healthz") as response:
        assert response.status == 200
        assert (await response.json())["status"] == "overloaded"


async def test_draining_is_seen_from_outside(server: Running) -> None:
    await server.registry.drain(limit_s=1)
    async with server.http.get("/healthz") as response:
        assert response.status == 503
        assert (await response.json())["status"] == "draining"
    async with server.http.post("/api/offer", json={"sdp": "", "type": "offer"}) as response:
        assert response.status == 503
        assert "Retry-After" in response.headers
        assert "error" in await response.json()


async def test_metrics_are_in_prometheus_format(server: Running) -> None:
    async with server.http.get("/metrics") as response:
        assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        text = await response.text()
    assert "parley_calls_active 0.0" in text
    assert "parley_loop_lag_p99_seconds 0.0" in text


async def test_refused_offers_are_counted_by_reason(server: Running) -> None:
    for _ in range(4):
        async with server.http.post("/api/offer", data=b"not json") as response:
            assert response.status in {400, 429}
    value = server.metrics.registry.get_sample_value
    assert value("parley_calls_refused_total", {"reason": "bad offer"}) == 3
    assert value("parley_calls_refused_total", {"reason": "rate"}) == 1


async def test_an_error_of_whoever_holds_the_application_comes_out_as_it_is() -> None:
    """Not in a group: an application that embeds this one catches its own errors by type."""
    with pytest.raises(LookupError, match="of the host"):
        async with open_application(load_settings(None, {"PARLEY_PROFILE": "embedded"})):
            raise LookupError("of the host")
