"""What the transport's tests share: calls on loopback, and a look at what is left behind."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress

import psutil
import pytest

from tests.fakes import PATIENCE_S
from tests.fakes.line import LINES, Line
from webrtc.config import WebRTCConfig


@pytest.fixture
def config() -> WebRTCConfig:
    """Settings under which two peers on this machine find each other, whatever its networks."""
    return WebRTCConfig(loopback=True)


@pytest.fixture(params=LINES.values(), ids=list(LINES))
def line(request: pytest.FixtureRequest) -> Line:
    """One kind of call after the other: what the contract of `webrtc.interface.Call` is held against."""
    return request.param


def _sockets() -> int:
    return len(psutil.Process().net_connections(kind="udp"))


def _threads() -> set[str]:
    # The event loop's own pool stays until the loop ends.
    return {thread.name for thread in threading.enumerate() if not thread.name.startswith("asyncio_")}


@pytest.fixture
async def nothing_left() -> AsyncIterator[None]:
    """Fails the test if tasks, threads or UDP sockets outlive it."""
    sockets, threads, tasks = _sockets(), _threads(), len(asyncio.all_tasks())
    yield
    with suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE_S):  # closing transports and canceled tasks take a few turns of the loop
            while (_sockets(), _threads(), len(asyncio.all_tasks())) != (sockets, threads, tasks):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    assert _threads() == threads
    assert _sockets() == sockets
    assert len(asyncio.all_tasks()) == tasks


@pytest.fixture(autouse=True)
def no_background_errors(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fails the test if a task or callback ended in an exception that was not retrieved."""
    yield
    unseen = [record.getMessage() for record in caplog.records if record.name == "asyncio" and record.levelno >= 40]
    assert not unseen
