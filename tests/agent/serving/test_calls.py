"""The call registry: admission, isolation, draining."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Self, cast

import pytest

from agent.serving.calls import CallRegistry
from agent.serving.loop_lag import MIN_SAMPLES, LoopLag
from agent.serving.metrics import Metrics
from agent.settings.config import AdmissionConfig
from tests.fakes import PATIENCE_S
from webrtc.interface import Call, CallError, CallStats


class FakeCall:
    """What the registry knows of a call; its conversation lasts until `over` is set."""

    def __init__(self, call_id: str = "aaaa", error: Exception | None = None) -> None:
        self.id = call_id
        self.error = error
        self.over = asyncio.Event()
        self.is_open = False
        self.was_closed = False
        self.stats = CallStats(late_packets=1, lost_packets=2, stalls=3)

    async def __aenter__(self) -> Self:
        self.is_open = True
        return self

    async def __aexit__(self, *_: object) -> None:
        self.is_open, self.was_closed = False, True


class Switchboard:
    """A registry over fake calls, and the parts that tests look at."""

    def __init__(self, group: asyncio.TaskGroup, max_calls: int) -> None:
        self.lag = LoopLag(refuse_above_ms=30, readmit_below_ms=15, window_s=1)
        self.metrics = Metrics()
        self.registry = CallRegistry(
            group, AdmissionConfig(max_calls=max_calls), run=self._run, lag=self.lag, metrics=self.metrics
        )

    async def _run(self, call: Call) -> None:
        fake = cast(FakeCall, call)
        await fake.over.wait()
        if fake.error:
            raise fake.error

    def accept(self, call: FakeCall) -> None:
        self.registry.accept(cast(Call, call))

    def metric(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(name, labels)


@asynccontextmanager
async def switchboard(max_calls: int = 2) -> AsyncIterator[Switchboard]:
    async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as group:
        yield Switchboard(group, max_calls)


async def until_active(board: Switchboard, calls: int) -> None:
    while board.registry.active != calls:  # noqa: ASYNC110  # only tests wait for this
        await asyncio.sleep(0)


async def test_a_call_is_entered_run_and_left() -> None:
    call = FakeCall()
    async with switchboard() as board:
        board.accept(call)
        assert board.registry.active == 1
        assert board.metric("parley_calls_active") == 1
        await asyncio.sleep(0)
        assert call.is_open
        call.over.set()
        await until_active(board, 0)
        assert call.was_closed
        assert board.metric("parley_calls_active") == 0
        assert board.metric("parley_calls_total") == 1
        assert board.metric("parley_late_packets_total") == 1
        assert board.metric("parley_lost_packets_total") == 2
        assert board.metric("parley_playout_stalls_total") == 3


async def test_a_failing_call_ends_only_itself(caplog: pytest.LogCaptureFixture) -> None:
    failing, healthy = FakeCall("aaaa", RuntimeError("broken")), FakeCall("bbbb")
    async with switchboard() as board:
        board.accept(failing)
        board.accept(healthy)
        failing.over.set()
        await until_active(board, 1)
        assert failing.was_closed
        assert healthy.is_open
        assert board.metric("parley_calls_failed_total") == 1
        healthy.over.set()
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.exc_info is not None


async def test_a_caller_who_never_connects_is_no_failure_of_ours(caplog: pytest.LogCaptureFixture) -> None:
    call = FakeCall(error=CallError("call aaaa is not connected"))
    call.over.set()
    async with switchboard() as board:
        board.accept(call)
        await until_active(board, 0)
        assert board.metric("parley_calls_failed_total") == 0
    assert call.was_closed
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_calls_beyond_the_limit_are_refused() -> None:
    call = FakeCall()
    async with switchboard(max_calls=1) as board:
        assert board.registry.admit() is None
        board.accept(call)
        refusal = board.registry.admit()
        assert refusal is not None
        assert "busy" in refusal.reason
        assert board.registry.status == "full"
        assert board.metric("parley_calls_refused_total", reason="full") == 1
        call.over.set()
        await until_active(board, 0)
        assert board.registry.admit() is None


async def test_calls_are_refused_while_the_loop_runs_late() -> None:
    async with switchboard() as board:
        for _ in range(MIN_SAMPLES):
            board.lag.add(40)
        assert board.registry.admit() is not None
        assert board.metric("parley_calls_refused_total", reason="overloaded") == 1
        for _ in range(MIN_SAMPLES):
            board.lag.add(1)
        assert board.registry.admit() is None


async def test_draining_waits_for_calls_and_takes_no_new_ones() -> None:
    call = FakeCall()
    async with switchboard() as board:
        board.accept(call)
        draining = asyncio.ensure_future(board.registry.drain(limit_s=60))
        await asyncio.sleep(0)
        assert board.registry.status == "draining"
        assert board.registry.admit() is not None
        assert not draining.done()
        call.over.set()
        await draining
        assert call.was_closed


async def test_draining_ends_what_is_left_after_the_limit() -> None:
    call = FakeCall()
    async with switchboard() as board:
        board.accept(call)
        await asyncio.sleep(0)
        await board.registry.drain(limit_s=0.01)
        await until_active(board, 0)
    assert call.was_closed


async def test_draining_an_empty_process_returns_at_once() -> None:
    async with switchboard() as board:
        await board.registry.drain(limit_s=60)


async def test_leaving_by_an_error_closes_the_calls() -> None:
    call = FakeCall()
    with pytest.raises(ExceptionGroup):
        async with switchboard() as board:
            board.accept(call)
            await asyncio.sleep(0)
            raise RuntimeError("the process falls")
    assert call.was_closed
