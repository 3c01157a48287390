"""What the transport's tests share: calls on loopback, a clock of their own, and a look at what is left behind."""

import asyncio
import selectors
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, TypeVar

import psutil
import pytest

from webrtc.config import WebRTCConfig

T = TypeVar("T")


class _JumpingSelector(selectors.DefaultSelector):
    """Never waits: the time that the loop would have slept has passed at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 1000.0

    def select(self, timeout: float | None = None) -> list[Any]:
        assert timeout is not None, "the test waits for something that no timer and no task will bring about"
        self.now_s += timeout
        return super().select(0)


class _VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now_s


@pytest.fixture
def in_virtual_time() -> Callable[[Coroutine[Any, Any, T]], T]:
    """`in_virtual_time(coroutine)` runs it on an event loop whose time passes only by waiting, and then at once."""

    def run(coroutine: Coroutine[Any, Any, T]) -> T:
        with asyncio.Runner(loop_factory=_VirtualLoop) as runner:
            return runner.run(coroutine)

    return run


@pytest.fixture
def config() -> WebRTCConfig:
    """Settings under which two peers on this machine find each other, whatever its networks."""
    return WebRTCConfig(loopback=True)


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
    for _ in range(100):  # closing transports and cancelled tasks take a few turns of the loop
        if (_sockets(), _threads(), len(asyncio.all_tasks())) == (sockets, threads, tasks):
            return
        await asyncio.sleep(0.01)
    assert _threads() == threads
    assert _sockets() == sockets
    assert len(asyncio.all_tasks()) == tasks


@pytest.fixture(autouse=True)
def no_background_errors(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fails the test if a task or callback ended in an exception that nobody saw."""
    yield
    unseen = [record.getMessage() for record in caplog.records if record.name == "asyncio" and record.levelno >= 40]
    assert not unseen
