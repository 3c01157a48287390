"""The running process: page, signalling, health and metrics on one port, from prewarmed engines to a drained end."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.resources import files
from pathlib import Path

from aiohttp import web

from agent.engines.open import open_engines
from agent.prometheus import CONTENT_TYPE
from agent.serving.calls import CallRegistry
from agent.serving.gc_pauses import freeze_gc
from agent.serving.lifetime import serve_until_stopped
from agent.serving.loop_lag import LoopLag
from agent.serving.metrics import Metrics
from agent.settings.config import Settings
from agent.tools.toolbox import open_toolbox
from pipelines.call import prepare, run_call
from pipelines.events import EventSink
from webrtc import browser
from webrtc.browser.signalling import PATH as OFFER_PATH
from webrtc.browser.signalling import Signalling
from webrtc.interface import Call

_log = logging.getLogger(__name__)

CALLS = web.AppKey("calls", CallRegistry)
PAGE = Path(str(files(browser))) / "page"

# The page needs nothing but its own files. Media and data channels are not fetches and need no permission here.
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src 'self' blob:; "
        "connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "Server": "Parley",
    "X-Content-Type-Options": "nosniff",
}
_REVALIDATE = "no-cache"  # kept by the browser, but asked for by its ETag each time: a new version is seen at once
_NEVER_KEEP = "no-store"

# What signalling refuses by itself; the reasons of a 503 are counted where calls are admitted.
_REFUSED = {400: "bad offer", 401: "token", 403: "origin", 413: "too large", 429: "rate"}


async def serve(settings: Settings, *, on_ready: Callable[[str], None]) -> None:
    """Take calls until SIGTERM or SIGINT, then drain; a second signal ends the calls at once.

    Args:
        settings: all of them.
        on_ready: is given the page's URL when calls are taken, every engine warm.

    Raises:
        AddressUnavailable: the host and port cannot be listened on.
        ToolUnavailable: a tool of the settings cannot be had.
    """
    async with open_application(settings) as app:
        freeze_gc()
        await serve_until_stopped(
            app,
            settings.server.host,
            settings.server.port,
            on_ready=on_ready,
            drain=lambda: app[CALLS].drain(settings.server.drain_limit_s),
            end_now=app[CALLS].end_all,
        )


@asynccontextmanager
async def open_application(
    settings: Settings, *, sinks_of: Callable[[Call], Sequence[EventSink]] = lambda _: ()
) -> AsyncGenerator[web.Application, None]:
    """The application that takes calls, every engine warm; leaving it drains, within `server.drain_limit_s`.

    Args:
        settings: all of them.
        sinks_of: what takes the events of a call, beside the metrics, the log and the caller's page.

    Raises:
        ToolUnavailable: a tool of the settings cannot be had.
    """
    metrics = Metrics()
    admission = settings.admission
    lag = LoopLag(
        refuse_above_ms=admission.max_loop_lag_ms,
        readmit_below_ms=admission.readmit_loop_lag_ms,
        window_s=admission.lag_window_s,
    )
    prepare(settings.call)
    async with (
        open_toolbox(settings.agent.tools, settings.tools) as toolbox,
        open_engines(settings) as engines,
        AsyncExitStack() as stack,
    ):
        tasks = AsyncExitStack()  # closed by itself: a task group would wrap the errors of the application's holder
        stack.push_async_callback(tasks.aclose)
        group = await tasks.enter_async_context(asyncio.TaskGroup())
        tasks.callback(group.create_task(lag.sample(), name="loop lag").cancel)

        async def run(call: Call) -> None:
            sinks = [metrics, *sinks_of(call)]
            await run_call(call, engines, settings.agent, settings.call, tools=toolbox.for_call(), sinks=sinks)

        calls = CallRegistry(group, admission, run=run, lag=lag, metrics=metrics)
        try:
            yield application(settings, calls, lag, metrics)
        finally:
            await calls.drain(settings.server.drain_limit_s)


def application(settings: Settings, calls: CallRegistry, lag: LoopLag, metrics: Metrics) -> web.Application:
    """The routes: `/` and the page's files, `/api/offer`, `/healthz`, `/metrics`."""

    async def index(_: web.Request) -> web.StreamResponse:
        return web.FileResponse(PAGE / "index.html")

    async def healthz(_: web.Request) -> web.Response:
        status = calls.status
        body = {"status": status, "calls": calls.active, "loop_lag_p99_ms": round(lag.p99_ms, 1)}
        # Full is healthy. A draining process answers 503 so that a load balancer sends no further calls.
        return web.json_response(body, status=503 if status == "draining" else 200)

    async def prometheus(_: web.Request) -> web.Response:
        metrics.loop_lag.set(lag.p99_ms / 1000)
        return web.Response(body=metrics.render(), headers={"Content-Type": CONTENT_TYPE})

    async def on_prepare(request: web.Request, response: web.StreamResponse) -> None:
        _add_headers(response)
        if reason := _REFUSED.get(response.status) if request.path.endswith(OFFER_PATH) else None:
            metrics.calls_refused.labels(reason).inc()

    signalling = Signalling(settings.webrtc, accept=calls.accept, admit=calls.admit)
    app = web.Application()
    app[CALLS] = calls
    app.router.add_routes(signalling.routes())
    app.router.add_get("/", index)
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/metrics", prometheus)
    app.router.add_static("/", PAGE)
    app.on_response_prepare.append(on_prepare)
    return app


def _add_headers(response: web.StreamResponse) -> None:
    is_file = isinstance(response, web.FileResponse)
    response.headers.setdefault("Cache-Control", _REVALIDATE if is_file else _NEVER_KEEP)
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
