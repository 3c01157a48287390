"""The life of a server: ready, drained on a signal, ended on the second, and refused where it cannot listen."""

import asyncio
import os
import signal

import pytest
from aiohttp import ClientSession, web

from agent.errors import AddressUnavailable
from agent.serving.lifetime import serve_until_stopped
from tests.fakes import PATIENCE_S
from webrtc.http.server import serve_http


class Life:
    """A server without routes, and what happened to it."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.ended = asyncio.Event()

    async def serve(self, port: int = 0) -> None:
        await serve_until_stopped(
            web.Application(),
            "127.0.0.1",
            port,
            on_ready=self.ready.set_result,
            drain=self._drain,
            end_now=self.ended.set,
        )
        self.seen.append("stopped")

    async def _drain(self) -> None:
        self.seen.append("draining")
        await self.ended.wait()
        self.seen.append("drained")


async def test_the_first_signal_drains_and_the_second_ends() -> None:
    life = Life()
    async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as group, ClientSession() as http:
        group.create_task(life.serve())
        url = await life.ready
        os.kill(os.getpid(), signal.SIGTERM)
        while life.seen != ["draining"]:  # noqa: ASYNC110  # the loop's own doing
            await asyncio.sleep(0)
        async with http.get(url) as response:  # it still answers
            assert response.status == 404
        os.kill(os.getpid(), signal.SIGINT)
    assert life.seen == ["draining", "drained", "stopped"]


async def test_a_taken_port_is_reported_in_one_line_with_what_to_do() -> None:
    async with serve_http(web.Application(), "127.0.0.1", 0) as url:
        with pytest.raises(AddressUnavailable, match="choose another with --host and --port") as caught:
            await Life().serve(int(url.rsplit(":", 1)[1]))
    assert "\n" not in str(caught.value)
