"""The engine server: its routes, what happens to every request, and its life from warm engines to a drained end."""

import logging
import time
from collections.abc import Callable
from functools import partial

from aiohttp import web
from aiohttp.typedefs import Middleware

from agent.engine_server.access import Access
from agent.engine_server.chat.routes import ChatRoutes
from agent.engine_server.errors import error_object
from agent.engine_server.metrics import EngineMetrics
from agent.engine_server.models import Models
from agent.engine_server.speech.routes import VOICES_PATH, SpeechRoutes
from agent.engine_server.transcription.routes import TranscriptionRoutes
from agent.engines.open import language_model_of, recognizer_of, synthesizer_of
from agent.engines.resources import Resources
from agent.prometheus import CONTENT_TYPE
from agent.serving.gc_pauses import freeze_gc
from agent.serving.lifetime import serve_until_stopped
from agent.settings.config import Settings
from agent.settings.engine_server import EngineServerConfig
from asr.interface import Recognizer
from llm.interface import LanguageModel
from tts.interface import Synthesizer
from webrtc.http.errors import GONE, Handler, answer
from webrtc.http.server import is_loopback
from webrtc.http.sockets import JsonSockets

_log = logging.getLogger(__name__)

_PROTECTED = "/v1/"
_FREE_OF_CHARGE = frozenset(["/v1/models", VOICES_PATH])  # need a key, but are no work
_HEADERS = {"Server": "Parley", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
_SOCKET = 101


async def serve_engines(settings: Settings, *, on_ready: Callable[[str], None]) -> None:
    """Serve the chosen engines until SIGTERM or SIGINT, then drain; a second signal ends the requests at once.

    Args:
        settings: all of them.
        on_ready: is given the server's URL when requests are taken, every engine warm.

    Raises:
        AddressUnavailable: the host and port cannot be listened on.
        EngineUnavailable: an engine cannot be started here; so say the errors of the interfaces, too.
    """
    config = settings.engine_server
    access = Access(config)
    async with (
        Resources() as resources,
        recognizer_of(settings, resources) as recognizer,
        language_model_of(settings, resources) as language_model,
        synthesizer_of(settings, resources) as synthesizer,
    ):
        freeze_gc()
        models = Models.of(settings, created=int(time.time()))
        app = application(config, access, models, recognizer, language_model, synthesizer)

        def ready(url: str) -> None:
            if not config.api_keys and not is_loopback(config.host):
                _log.warning("no engine_server.api_keys are set: everyone who reaches %s can use the engines", url)
            on_ready(url)

        await serve_until_stopped(
            app,
            config.host,
            config.port,
            on_ready=ready,
            drain=lambda: access.drain(config.drain_limit_s),
            end_now=access.stop_waiting,
            cancels_with_client=True,
        )


def application(
    config: EngineServerConfig,
    access: Access,
    models: Models,
    recognizer: Recognizer,
    language_model: LanguageModel,
    synthesizer: Synthesizer,
) -> web.Application:
    """The routes: the protocols below `/v1`, `/healthz` and `/metrics`."""
    metrics = EngineMetrics()
    sockets = JsonSockets(max_message_bytes=config.max_body_bytes, write_timeout_s=config.write_timeout_s)

    async def healthz(_: web.Request) -> web.Response:
        status = "draining" if access.is_draining else "ok"
        # A draining process answers 503 so that a load balancer sends no further requests.
        return web.json_response(
            {"status": status, "requests": access.active}, status=503 if access.is_draining else 200
        )

    async def prometheus(_: web.Request) -> web.Response:
        return web.Response(body=metrics.render(), headers={"Content-Type": CONTENT_TYPE})

    async def list_models(_: web.Request) -> web.Response:
        return web.json_response(models.as_json())

    async def on_prepare(_: web.Request, response: web.StreamResponse) -> None:
        response.headers.update(_HEADERS)

    app = web.Application(middlewares=[_guard(access, metrics)])
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/metrics", prometheus)
    app.router.add_get("/v1/models", list_models)
    app.router.add_routes(SpeechRoutes(synthesizer, models.tts, config, metrics).routes())
    app.router.add_routes(ChatRoutes(language_model, models.llm, config, metrics).routes())
    app.router.add_routes(TranscriptionRoutes(recognizer, models.asr, config, metrics, sockets).routes())
    app.on_response_prepare.append(on_prepare)
    app.on_shutdown.append(sockets.close_all)
    return app


def _guard(access: Access, metrics: EngineMetrics) -> Middleware:
    """Around every request: admission, errors in JSON, and counting."""

    async def admit(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not request.path.startswith(_PROTECTED):
            return await handler(request)
        if request.path in _FREE_OF_CHARGE:
            access.check_key(request)
            return await handler(request)
        with access.admit(request):
            return await handler(request)

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        resource = request.match_info.route.resource
        route = resource.canonical if resource is not None else "other"
        # Unless an answer is reached: a handler is cancelled when its client goes away, as sockets usually end.
        status = str(_SOCKET if request.headers.get("Upgrade", "").lower() == "websocket" else GONE)
        try:
            with metrics.in_progress(route):
                response = await answer(request, partial(admit, handler=handler), describe=error_object)
            status = str(response.status)
            return response
        finally:
            metrics.count_answer(route, status)

    return guard
