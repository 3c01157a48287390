"""What tests of every floor share."""

import asyncio
import os
import selectors
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, TypeVar

import pytest

# Two workers of pytest-xdist share two cores, and tiny matrices gain nothing by threads. Read when torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

T = TypeVar("T")

Require = Callable[[bool, str], None]
MISSING = "missing here: "
PIPELINES = Path(__file__).parent / "pipelines"


@pytest.fixture(scope="session")
def require() -> Require:
    """`require(condition, reason)`: without the condition the test is skipped, under PARLEY_REQUIRE_ALL=1 it fails.

    The reason tells how to get what is missing; it is also the last line of the run.
    """

    def check(condition: bool, reason: str) -> None:
        if condition:
            return
        if os.environ.get("PARLEY_REQUIRE_ALL") == "1":
            pytest.fail(reason)
        pytest.skip(MISSING + reason)

    return check


def pytest_unconfigure(config: pytest.Config) -> None:
    """Say last, after pytest's own summary, what the tests that were skipped want."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None:  # in a worker of pytest-xdist
        return
    reasons = {str(report.longrepr[2]) for report in reporter.stats.get("skipped", ())}
    for reason in sorted(reason for reason in reasons if MISSING in reason):
        reporter.write_line(f"Skipped: {reason.partition(MISSING)[2]}")


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


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Asynchronous tests of tests/pipelines run in virtual time; those marked `real_time` need sockets or threads."""
    is_virtual = PIPELINES in item.path.parents and not item.get_closest_marker("real_time")
    return {"virtual_time": _VirtualLoop} if is_virtual else {"real_time": asyncio.new_event_loop}
