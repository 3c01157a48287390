"""The engine server: its routes, what happens to every request, and its life from warm engines to a drained end."""

import logging
import time
from collections.abc import Awaitable, Callable
from ipaddress import ip_address

from aiohttp import web
from aiohttp.typedefs import Middleware

from agent.engine_server import chat, speech, transcription
from agent.engine_server.access import Access
from agent.engine_server.config import EngineServerConfig
from agent.engine_server.errors import ApiError
from agent.engine_server.metrics import CONTENT_TYPE, EngineMetrics
from agent.engine_server.models import Models
from agent.engine_server.sockets import Sockets
from agent.engines.open import StepLoops, language_model_of, recognizer_of, synthesizer_of
from agent.serving.collector import spare_the_collector
from agent.serving.listening import listening, stop_signals
from agent.settings.config import Settings
from asr.interface import Recognizer
from llm.interface import LanguageModel
from tts.interface import Synthesizer

_log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_PROTECTED = "/v1/"
_FREE_OF_CHARGE = frozenset(["/v1/models", speech.VOICES_PATH])  # need a key, but are no work
_HEADERS = {"Server": "Parley", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
_CODES = {404: "not_found", 405: "method_not_allowed", 413: "too_large"}
_SOCKET = 101
_GONE = 499  # nobody reads it: nginx's word, for the metrics


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
        StepLoops() as loops,
        recognizer_of(settings, loops) as recognizer,
        language_model_of(settings, loops) as language_model,
        synthesizer_of(settings, loops) as synthesizer,
    ):
        spare_the_collector()
        models = Models.of(settings, created=int(time.time()))
        app = application(config, access, models, recognizer, language_model, synthesizer)
        async with listening(app, config.host, config.port, cancels_with_client=True) as url:
            with stop_signals(access.stop_waiting) as stop:
                if not config.api_keys and not _is_loopback(config.host):
                    _log.warning("no engine_server.api_keys are set: everyone who reaches %s can use the engines", url)
                on_ready(url)
                await stop.wait()
                await access.drain(config.drain_limit_s)


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
    sockets = Sockets(config)

    async def healthz(_: web.Request) -> web.Response:
        status = "draining" if access.is_draining else "ok"
        # A draining process answers 503 so that a load balancer sends nobody any more.
        return web.json_response(
            {"status": status, "requests": access.active}, status=503 if access.is_draining else 200
        )

    async def prometheus(_: web.Request) -> web.Response:
        return web.Response(body=metrics.render(), headers={"Content-Type": CONTENT_TYPE})

    async def list_models(_: web.Request) -> web.Response:
        return web.json_response(models.as_json())

    async def on_prepare(_: web.Request, response: web.StreamResponse) -> None:
        response.headers.update(_HEADERS)

    app = web.Application(client_max_size=config.max_body_bytes, middlewares=[_guard(access, metrics)])
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/metrics", prometheus)
    app.router.add_get("/v1/models", list_models)
    app.router.add_routes(speech.Speech(synthesizer, models.tts, config, metrics).routes())
    app.router.add_routes(chat.Chat(language_model, models.llm, config, metrics).routes())
    app.router.add_routes(transcription.Realtime(recognizer, models.asr, config, metrics, sockets).routes())
    app.on_response_prepare.append(on_prepare)
    app.on_shutdown.append(sockets.close_all)
    return app


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _guard(access: Access, metrics: EngineMetrics) -> Middleware:
    """Around every request: admission, errors in JSON, and counting."""

    async def admitted(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not request.path.startswith(_PROTECTED):
            return await handler(request)
        if request.path in _FREE_OF_CHARGE:
            access.check_key(request)
            return await handler(request)
        with access.admit(request):
            return await handler(request)

    async def answered(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await admitted(request, handler)
        except ApiError as error:
            if error.status >= 500:
                _log.warning("%s: %s", request.path, error)
            return error.response()
        except web.HTTPException as error:
            message = " ".join((error.text or error.reason).split())
            return ApiError(error.status, message, code=_CODES.get(error.status, "error")).response()
        except ConnectionError:
            return web.Response(status=_GONE)
        except Exception:
            _log.exception("%s failed", request.path)
            return ApiError(500, "an error of the server's own: see its log", code="internal_error").response()

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        resource = request.match_info.route.resource
        route = resource.canonical if resource is not None else "other"
        # Unless an answer is reached: a handler is cancelled when its client goes away, as sockets usually end.
        status = str(_SOCKET if request.headers.get("Upgrade", "").lower() == "websocket" else _GONE)
        try:
            with metrics.in_progress(route):
                response = await answered(request, handler)
            status = str(response.status)
            return response
        finally:
            metrics.answered(route, status)

    return guard
