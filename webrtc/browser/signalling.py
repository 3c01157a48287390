"""Offer and answer over HTTP: who is let in, what is refused, and in which words.

`POST /api/offer` takes `{sdp, type}` and gives `{sdp, type, pc_id}`; `PATCH /api/offer` takes `{pc_id, candidates}`.
These are the routes and names of Pipecat's small-webrtc transport, so that its web, iOS and Android clients connect.
Every refusal is JSON, `{"error": "one line"}`.
"""

import asyncio
import logging
import secrets
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

from aiohttp import web

from webrtc.browser.schemas import CandidatesBody, OfferBody
from webrtc.config import WebRTCConfig
from webrtc.http.bodies import Body, read_json
from webrtc.http.errors import Handler, RequestRefused, TokenRejected, answer
from webrtc.http.origins import Origins
from webrtc.http.proxies import TrustedProxies
from webrtc.http.rate import RequestRate
from webrtc.http.tokens import CallTokens, bearer_token
from webrtc.interface import CallClosed, CallError, CandidateRejected, OfferRejected, RestartRefused
from webrtc.peer.call import PeerCall
from webrtc.peer.connection import Candidate
from webrtc.peer.offer import SessionDescription

PATH = "/api/offer"
PREFLIGHT_MAX_AGE_S = 600

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why the owner takes no further call just now, and when to try again."""

    reason: str
    retry_after_s: int = 5


class Signalling:
    """The routes under which callers come in; answered calls are handed to their owner at once."""

    def __init__(
        self, config: WebRTCConfig, *, accept: Callable[[PeerCall], None], admit: Callable[[], Refusal | None]
    ) -> None:
        """Take calls with these settings.

        Args:
            config: of the calls, and of who may call.
            accept: owns an answered call from then on, and must enter it.
            admit: None if a further call may come in, else why not.
        """
        self._config = config
        self._limits = config.signalling
        self._accept = accept
        self._admit = admit
        self._calls: dict[str, PeerCall] = {}  # by pc_id: unguessable, unlike the id in the log
        self._rate = RequestRate(self._limits.offers_per_minute)
        secret = self._limits.token_secret
        self._tokens = (
            CallTokens(secret.get_secret_value(), lifetime_s=self._limits.token_lifetime_s) if secret else None
        )
        self._proxies = TrustedProxies(self._limits.trusted_proxies)
        self._origins = Origins(
            self._limits.allowed_origins,
            self._proxies,
            are_names_checked=self._tokens is None,
            advice="set signalling.allowed_origins or signalling.trusted_proxies",
        )

    def routes(self) -> list[web.RouteDef]:
        """For an aiohttp application."""
        return [
            web.post(PATH, self._across_origins(self._offer)),
            web.patch(PATH, self._across_origins(self._candidates)),
            web.options(PATH, self._across_origins(self._preflight)),
        ]

    async def _offer(self, request: web.Request) -> web.Response:
        self._check_rate(request)
        self._check_token(request)
        body = await self._read(request, OfferBody)
        offer = SessionDescription(body.sdp, body.type)
        call = self._calls.get(body.pc_id or "")
        if call is not None and body.pc_id is not None:
            if not body.restart_pc:
                return _answer(body.pc_id, await _answer_offer(call, offer))
            await call.close()
        return await self._new_call(offer)

    async def _new_call(self, offer: SessionDescription) -> web.Response:
        self._check_admission()
        if len(self._calls) >= self._limits.max_calls:
            raise _busy(Refusal("all lines are busy; call again in a moment"))
        pc_id = secrets.token_urlsafe(16)
        async with AsyncExitStack() as stack:
            call = PeerCall(self._config)
            stack.push_async_callback(call.close)
            self._calls[pc_id] = call
            call.when_closed(lambda: self._calls.pop(pc_id, None))
            answer = await _answer_offer(call, offer)
            self._check_admission()  # others may have come in meanwhile
            self._accept(call)
            stack.pop_all()
        return _answer(pc_id, answer)

    async def _candidates(self, request: web.Request) -> web.Response:
        body = await self._read(request, CandidatesBody)
        call = self._calls.get(body.pc_id)
        if call is None:
            raise RequestRefused(404, "there is no such call; it may have ended")
        try:
            for candidate in body.candidates:
                await call.add_candidate(Candidate(candidate.candidate, candidate.sdp_mid, candidate.sdp_mline_index))
        except CandidateRejected as error:
            raise RequestRefused(400, str(error)) from error
        except CallClosed as error:
            raise RequestRefused(404, str(error)) from error
        return web.json_response({"status": "success"})

    async def _preflight(self, _: web.Request) -> web.Response:
        return web.Response(
            status=204,
            headers={
                "Access-Control-Allow-Methods": "POST, PATCH",
                "Access-Control-Allow-Headers": "Content-Type, Authorization",
                "Access-Control-Max-Age": str(PREFLIGHT_MAX_AGE_S),
            },
        )

    def _across_origins(self, handler: Handler) -> Handler:
        """Let pages of our own and of the configured origins in, and no others (WHATWG Fetch, CORS protocol)."""

        async def handle(request: web.Request) -> web.StreamResponse:
            origin = None

            async def from_allowed_origin(request: web.Request) -> web.StreamResponse:
                nonlocal origin
                origin = self._origins.check(request)
                return await handler(request)

            response = await answer(request, from_allowed_origin)
            if origin is not None:
                response.headers.update({"Access-Control-Allow-Origin": origin, "Vary": "Origin"})
            return response

        return handle

    def _check_admission(self) -> None:
        refusal = self._admit()
        if refusal is not None:
            raise _busy(refusal)

    def _check_rate(self, request: web.Request) -> None:
        wait_s = self._rate.take(self._proxies.caller(request), asyncio.get_running_loop().time())
        if wait_s > 0:
            raise RequestRefused(429, "too many calls from your address; wait a minute", retry_after_s=wait_s)

    def _check_token(self, request: web.Request) -> None:
        if self._tokens is None:
            return
        token = bearer_token(request)
        if token is None:
            raise TokenRejected("a call token is needed: Authorization: Bearer TOKEN")
        self._tokens.check(token)

    async def _read(self, request: web.Request, schema: type[Body]) -> Body:
        limits = self._limits
        return await read_json(request, schema, max_bytes=limits.max_body_bytes, timeout_s=limits.body_timeout_s)


async def _answer_offer(call: PeerCall, offer: SessionDescription) -> SessionDescription:
    try:
        return await call.answer(offer)
    except RestartRefused as error:
        raise RequestRefused(409, str(error)) from error
    except OfferRejected as error:
        raise RequestRefused(400, str(error)) from error
    except CallClosed as error:
        raise RequestRefused(404, str(error)) from error
    except CallError as error:
        raise RequestRefused(500, str(error)) from error


def _answer(pc_id: str, answer: SessionDescription) -> web.Response:
    return web.json_response({"sdp": answer.sdp, "type": answer.type, "pc_id": pc_id})


def _busy(refusal: Refusal) -> RequestRefused:
    return RequestRefused(503, refusal.reason, retry_after_s=refusal.retry_after_s)
