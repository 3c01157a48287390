"""Every kind of call: what the caller says, messages both ways, and the end. Playout has a suite of its own."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest

from tests.fakes import PATIENCE_S
from tests.fakes.line import FarEnd, Line
from webrtc.config import WebRTCConfig
from webrtc.interface import Call, CallClosed, CallStats, CloseReason, MicrophoneFrame, NotConnected

pytestmark = pytest.mark.usefixtures("nothing_left")

FRAME_SAMPLES = 320


@asynccontextmanager
async def connected(line: Line, config: WebRTCConfig) -> AsyncGenerator[tuple[Call, FarEnd]]:
    async with asyncio.timeout(PATIENCE_S), line.new_call(config) as call, line.join(call) as far_end:
        await call.wait_connected()
        yield call, far_end


def dropped_frames(call: Any) -> int:
    """No part of the contract, but the only sign of a frame that has come and that nobody takes."""
    return call.microphone.dropped_frames


def dropped_messages(call: Any) -> int:
    """As `dropped_frames`."""
    return call.messages.dropped


async def test_frames_are_of_20_ms_in_order_and_hold_what_was_said(line: Line, config: WebRTCConfig) -> None:
    tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(48_000) / 48_000)
    async with connected(line, config) as (call, far_end):
        await far_end.say(tone.astype(np.float32))
        frames = [await anext(call.microphone) for _ in range(50)]
    assert [frame.position_samples for frame in frames] == [n * FRAME_SAMPLES for n in range(50)]
    assert all(frame.samples.shape == (FRAME_SAMPLES,) and frame.samples.dtype == np.float32 for frame in frames)
    samples = np.concatenate([frame.samples for frame in frames])
    loud = samples[np.flatnonzero(np.abs(samples) > 0.05)[0] :]
    assert int(np.argmax(np.abs(np.fft.rfft(loud)))) * 16_000 / loud.size == pytest.approx(440, abs=10)
    assert np.abs(loud).max() == pytest.approx(0.3, rel=0.2)


async def test_a_reader_that_stalls_loses_the_oldest_frames_and_sees_the_gap(line: Line, config: WebRTCConfig) -> None:
    async with connected(line, config.model_copy(update={"microphone_capacity_ms": 100})) as (call, _):
        first = await anext(call.microphone)
        dropped = dropped_frames(call)
        while dropped_frames(call) < dropped + 6:
            await call.playout.wait_advanced()
        frames = [await anext(call.microphone) for _ in range(5)]
    positions = [frame.position_samples for frame in frames]
    assert positions[0] > first.position_samples + 5 * FRAME_SAMPLES
    assert np.diff(positions).tolist() == [FRAME_SAMPLES] * 4


async def test_messages_go_both_ways_in_order_and_wait_until_they_can_be_sent(line: Line, config: WebRTCConfig) -> None:
    async with asyncio.timeout(PATIENCE_S), line.new_call(config) as call:
        for n in range(3):
            call.send(f"early {n}")
        async with line.join(call) as far_end:
            for text in ("one", "two", "three"):
                far_end.send(text)
            assert [await anext(call.messages) for _ in range(3)] == ["one", "two", "three"]
            call.send("late")
            assert [await far_end.next_message() for _ in range(4)] == ["early 0", "early 1", "early 2", "late"]


async def test_messages_are_bounded_in_number_and_length(line: Line, config: WebRTCConfig) -> None:
    limits = config.model_copy(update={"message_capacity": 2, "max_message_chars": 10})
    async with asyncio.timeout(PATIENCE_S), line.new_call(limits) as call:
        for n in range(5):
            call.send(f"early {n}")
        async with line.join(call) as far_end:
            assert [await far_end.next_message() for _ in range(2)] == ["early 3", "early 4"]
            for text in ("x" * 11, "y" * 10):
                far_end.send(text)
            assert await anext(call.messages) == "y" * 10
            for n in range(5):
                far_end.send(str(n))
            while dropped_messages(call) < 3:
                await call.playout.wait_advanced()
            assert [await anext(call.messages) for _ in range(2)] == ["3", "4"]


async def test_the_far_end_hangs_up(line: Line, config: WebRTCConfig) -> None:
    async with asyncio.timeout(PATIENCE_S), line.new_call(config) as call:
        async with line.join(call) as far_end:
            call.playout.write(np.zeros(24_000, np.float32))
            await anext(call.microphone)
            far_end.send("goodbye")
            await anext(call.messages)
            assert call.close_reason is None
        assert await call.wait_closed() is call.close_reason is CloseReason.HUNG_UP
        await assert_over(call)
    assert call.close_reason is CloseReason.HUNG_UP


async def test_we_hang_up_and_whoever_waits_is_woken(line: Line, config: WebRTCConfig) -> None:
    frames: list[MicrophoneFrame] = []
    messages: list[str] = []

    async def read_audio(call: Call) -> None:
        async for frame in call.microphone:
            frames.append(frame)  # noqa: PERF401  # counted meanwhile

    async def read_messages(call: Call) -> None:
        async for message in call.messages:
            messages.append(message)  # noqa: PERF401

    async def follow_playout(call: Call) -> None:
        with pytest.raises(CallClosed):
            while True:
                await call.playout.wait_advanced()

    async with connected(line, config) as (call, far_end), asyncio.TaskGroup() as group:
        group.create_task(read_audio(call))
        group.create_task(read_messages(call))
        group.create_task(follow_playout(call))
        ended = group.create_task(call.wait_closed())
        far_end.send("hello")
        while not messages or len(frames) < 2:
            await call.playout.wait_advanced()
        await call.close()
        await call.close()
        await far_end.wait_closed()
    assert await ended is CloseReason.CLOSED
    assert messages == ["hello"]
    await assert_over(call)


async def assert_over(call: Call) -> None:
    """Nothing is delivered, nothing moves, and nothing that is asked for does any harm."""
    position_samples = call.playout.position_samples
    async for _ in call.microphone:
        pass  # what was heard before; then it ends
    assert [message async for message in call.messages] == []
    with pytest.raises(CallClosed, match=call.id):
        await call.playout.wait_advanced()
    with pytest.raises(NotConnected, match=call.id):
        await call.wait_connected()
    call.send("into the void")
    call.playout.write(np.zeros(480, np.float32))
    call.playout.cut()
    await asyncio.sleep(0.05)
    assert call.playout.position_samples == position_samples
    reason = await call.wait_closed()
    await call.close()
    assert await call.wait_closed() is reason
    assert isinstance(call.stats, CallStats)


async def test_a_call_that_nobody_joins_is_given_up(line: Line, config: WebRTCConfig) -> None:
    impatient = config.model_copy(update={"connect_timeout_s": 0.1})
    async with asyncio.timeout(PATIENCE_S), line.new_call(impatient) as call:
        with pytest.raises(NotConnected, match="no connection came about"):
            await call.wait_connected()
        assert call.close_reason is CloseReason.NOT_CONNECTED


async def test_a_call_that_was_never_joined_can_be_left(line: Line, config: WebRTCConfig) -> None:
    async with asyncio.timeout(PATIENCE_S), line.new_call(config) as call:
        pass
    assert await call.wait_closed() is CloseReason.CLOSED
    await assert_over(call)


async def test_an_owner_that_is_cancelled_twice_still_hangs_up(line: Line, config: WebRTCConfig) -> None:
    call = line.new_call(config)
    is_entered = asyncio.Event()

    async def hold() -> None:
        async with call:
            is_entered.set()
            await call.wait_closed()

    async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as group:
        owner = group.create_task(hold())
        async with line.join(call) as far_end:
            await is_entered.wait()
            owner.cancel()
            await asyncio.sleep(0)
            owner.cancel()
            await far_end.wait_closed()
    assert owner.cancelled()
    assert call.close_reason is CloseReason.CLOSED


async def test_an_error_of_the_owner_goes_on_as_it_is(line: Line, config: WebRTCConfig) -> None:
    call = line.new_call(config)
    with pytest.raises(ZeroDivisionError):
        async with asyncio.timeout(PATIENCE_S), call:
            raise ZeroDivisionError
    assert call.close_reason is CloseReason.CLOSED


async def test_no_two_calls_have_one_id(line: Line, config: WebRTCConfig) -> None:
    async with line.new_call(config) as one, line.new_call(config) as other:
        ids = {one.id, other.id}
    assert len(ids) == 2
    for call_id in ids:
        assert len(call_id) == 32
        assert set(call_id) <= set("0123456789abcdef")
