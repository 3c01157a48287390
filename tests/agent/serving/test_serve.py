"""`parley serve` as a process of its own on the embedded engines: ready, in a call, drained."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiohttp import ClientSession, ClientTimeout

from benchmarks.far_end.caller import Caller
from tests.fakes import PATIENCE_S


@dataclass
class Server:
    """A running `parley serve`."""

    process: asyncio.subprocess.Process
    url: str

    async def health(self) -> tuple[int, dict[str, object]]:
        async with (
            ClientSession(timeout=ClientTimeout(total=PATIENCE_S)) as http,
            http.get(f"{self.url}/healthz") as response,
        ):
            return response.status, await response.json()

    async def offer(self) -> int:
        """The status that an offer gets when no call is admitted: it is not even looked at."""
        body = {"sdp": "", "type": "offer"}
        async with (
            ClientSession(timeout=ClientTimeout(total=PATIENCE_S)) as http,
            http.post(f"{self.url}/api/offer", json=body) as response,
        ):
            return response.status

    async def wait_until(self, **wanted: object) -> None:
        """Until /healthz says so."""
        async with asyncio.timeout(PATIENCE_S):
            while not wanted.items() <= (await self.health())[1].items():  # noqa: ASYNC110  # another process
                await asyncio.sleep(0.05)

    async def stopped(self) -> int:
        return await asyncio.wait_for(self.process.wait(), PATIENCE_S)


@asynccontextmanager
async def parley_serve(**settings: str) -> AsyncIterator[Server]:
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PARLEY_")},
        "PARLEY_WEBRTC__LOOPBACK": "true",
        "PARLEY_ADMISSION__MAX_LOOP_LAG_MS": "5000",  # the machine that tests may be busy with other things
        **settings,
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "agent", "serve", "--port", "0", "--log-level", "warning"),
        env=environment,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout
        line = await asyncio.wait_for(process.stdout.readline(), PATIENCE_S)
        ready = re.fullmatch(r"Parley is listening on (http://\S+)\n", line.decode())
        assert ready, f"{line!r} does not say where it listens"
        yield Server(process, ready[1])
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_sigterm_ends_an_idle_process_at_once() -> None:
    async with parley_serve() as server:
        status, health = await server.health()
        assert (status, health["status"], health["calls"]) == (200, "ok", 0)
        server.process.terminate()
        assert await server.stopped() == 0


async def test_draining_lets_a_call_finish_and_takes_no_other() -> None:
    async with parley_serve() as server:
        async with Caller(server.url):
            await server.wait_until(calls=1)
            assert await server.offer() == 400
            server.process.terminate()
            await server.wait_until(status="draining")
            assert (await server.health())[0] == 503
            assert await server.offer() == 503
            assert server.process.returncode is None
        assert await server.stopped() == 0


async def test_a_drain_ends_at_its_limit() -> None:
    async with parley_serve(PARLEY_SERVER__DRAIN_LIMIT_S="0.2") as server, Caller(server.url) as caller:
        await server.wait_until(calls=1)
        server.process.send_signal(signal.SIGINT)
        await asyncio.wait_for(caller.wait_closed(), PATIENCE_S)
        assert await server.stopped() == 0


async def test_a_second_signal_does_not_wait() -> None:
    async with parley_serve() as server, Caller(server.url) as caller:
        await server.wait_until(calls=1)
        server.process.terminate()
        await server.wait_until(status="draining")
        server.process.terminate()
        await asyncio.wait_for(caller.wait_closed(), PATIENCE_S)
        assert await server.stopped() == 0


async def test_calls_beyond_the_limit_are_refused_and_the_place_is_freed() -> None:
    async with parley_serve(PARLEY_ADMISSION__MAX_CALLS="1") as server:
        async with Caller(server.url):
            await server.wait_until(calls=1, status="full")
            assert await server.offer() == 503
        await server.wait_until(calls=0, status="ok")
        async with Caller(server.url):
            await server.wait_until(calls=1)
