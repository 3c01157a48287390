"""The lag of the event loop as a measure for admission."""

import asyncio

import pytest

from agent.serving.loop_lag import MIN_SAMPLES, SAMPLE_INTERVAL_S, LoopLag


def lag_of(window_s: float = 2.0) -> LoopLag:
    return LoopLag(refuse_above_ms=30, readmit_below_ms=15, window_s=window_s)


def fill(lag: LoopLag, lag_ms: float, count: int = MIN_SAMPLES) -> None:
    for _ in range(count):
        lag.add(lag_ms)


def test_nothing_measured_is_no_load() -> None:
    lag = lag_of()
    assert lag.p99_ms == 0
    assert not lag.is_overloaded


def test_a_hiccup_at_the_start_is_no_load() -> None:
    lag = lag_of()
    fill(lag, 500, MIN_SAMPLES - 1)
    assert not lag.is_overloaded
    fill(lag, 500, 1)
    assert lag.is_overloaded


def test_p99_overlooks_one_wake_up_in_a_hundred() -> None:
    lag = lag_of()
    fill(lag, 1, 99)
    lag.add(500)
    assert lag.p99_ms == 1
    lag.add(400)
    assert lag.p99_ms == 400


def test_the_window_forgets() -> None:
    lag = lag_of(window_s=100 * SAMPLE_INTERVAL_S)
    fill(lag, 500)
    fill(lag, 1)
    assert lag.p99_ms == 1


def test_between_the_thresholds_the_last_answer_stands() -> None:
    lag = lag_of()
    fill(lag, 20)
    assert not lag.is_overloaded  # never refused yet
    fill(lag, 31)
    assert lag.is_overloaded
    fill(lag, 20)
    assert lag.is_overloaded
    fill(lag, 14)
    assert not lag.is_overloaded
    fill(lag, 20)
    assert not lag.is_overloaded


async def test_sampling_sees_a_blocked_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock of the test's own: every sleep takes 45 ms longer than asked."""
    loop = asyncio.get_running_loop()
    now_s = 0.0
    lag = lag_of()

    async def sleep(seconds: float) -> None:
        nonlocal now_s
        now_s += seconds + 0.045
        if now_s > 10:
            raise asyncio.CancelledError

    monkeypatch.setattr("agent.serving.loop_lag.asyncio.sleep", sleep)
    monkeypatch.setattr(loop, "time", lambda: now_s)
    with pytest.raises(asyncio.CancelledError):
        await lag.sample()
    monkeypatch.undo()
    assert lag.p99_ms == pytest.approx(45)
