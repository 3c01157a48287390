"""Stands for the process behind signalling: takes calls and holds them until they end."""

import asyncio
from dataclasses import dataclass, field

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from webrtc.browser.signalling import Refusal, Signalling
from webrtc.config import SignallingConfig, WebRTCConfig
from webrtc.peer.call import PeerCall


@dataclass
class Owner:
    """Serves the routes of signalling; what comes in is in `calls`."""

    config: WebRTCConfig
    group: asyncio.TaskGroup
    calls: list[PeerCall] = field(default_factory=list)
    refusals: list[Refusal | None] = field(default_factory=list)  # of the next offers; then None

    async def serve(self, **limits: object) -> TestClient[web.Request, web.Application]:
        config = self.config.model_copy(update={"signalling": SignallingConfig.model_validate(limits)})
        signalling = Signalling(config, accept=self._accept, admit=self._admit)
        app = web.Application()
        app.add_routes(signalling.routes())
        return TestClient(TestServer(app))

    def _admit(self) -> Refusal | None:
        return self.refusals.pop(0) if self.refusals else None

    def _accept(self, call: PeerCall) -> None:
        self.calls.append(call)
        self.group.create_task(self._hold(call))

    async def _hold(self, call: PeerCall) -> None:
        async with call:
            await call.wait_closed()


def url(client: TestClient[web.Request, web.Application]) -> str:
    return str(client.make_url("/"))


async def refused(response: aiohttp.ClientResponse) -> tuple[int, str]:
    """Status and error of a refusal, which is one line of JSON."""
    body = await response.json()
    assert list(body) == ["error"]
    assert "\n" not in body["error"]
    return response.status, body["error"]
