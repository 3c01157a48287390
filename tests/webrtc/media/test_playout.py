"""The playout on virtual time: pace, positions, and how soon a command is heard."""

import asyncio
from collections.abc import Callable, Coroutine
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from webrtc.interface import PLAYOUT_RATE_HZ, CallClosed
from webrtc.media.playout import BLOCK_SAMPLES, PacedPlayout

InVirtualTime = Callable[[Coroutine[Any, Any, Any]], Any]


def new_playout() -> PacedPlayout:
    return PacedPlayout(capacity_ms=10_000, call_id="test")


def loud(seconds: float) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.full(round(PLAYOUT_RATE_HZ * seconds), 0.5, np.float32)


def test_a_block_every_20_ms_with_or_without_speech(in_virtual_time: InVirtualTime) -> None:
    async def scenario() -> list[float]:
        playout, loop = new_playout(), asyncio.get_running_loop()
        times: list[float] = []
        for n in range(100):
            if n == 30:
                playout.write(loud(0.5))
            assert (await playout.next_block()).shape == (BLOCK_SAMPLES,)
            times.append(loop.time())
        assert playout.position_samples == playout.written_samples == 12_000
        return times

    times = in_virtual_time(scenario())
    assert [b - a for a, b in pairwise(times)] == pytest.approx([0.020] * 99)


def test_after_a_stall_it_catches_up_and_after_a_long_one_it_does_not(in_virtual_time: InVirtualTime) -> None:
    async def scenario() -> tuple[float, float, int]:
        playout, loop = new_playout(), asyncio.get_running_loop()

        async def pull(blocks: int) -> float:
            began_s = loop.time()
            for _ in range(blocks):
                await playout.next_block()
            return loop.time() - began_s

        await pull(1)
        await asyncio.sleep(0.150)
        caught_up_s = await pull(7)
        await asyncio.sleep(1.0)
        return caught_up_s, await pull(7), playout.stalls

    caught_up_s, paced_s, stalls = in_virtual_time(scenario())
    assert caught_up_s == pytest.approx(0)
    assert paced_s == pytest.approx(0.120)
    assert stalls == 1


def test_what_is_asked_between_two_blocks_acts_in_the_next(in_virtual_time: InVirtualTime) -> None:
    async def scenario() -> list[float]:
        playout = new_playout()
        last: list[float] = []  # sample of each block
        for n in range(40):
            if n == 5:
                assert playout.write(loud(1.0)) == 0
            if n == 15:
                playout.duck(gain_db=-20)
            if n == 20:
                playout.resume()
            if n == 30:
                assert playout.cut() == 25 * BLOCK_SAMPLES + 240
                assert playout.lead_samples == 240
            last.append(float((await playout.next_block())[-1]))
        assert playout.position_samples == playout.written_samples == 25 * BLOCK_SAMPLES + 240
        assert playout.underruns == 0
        return last

    last = in_virtual_time(scenario())
    assert last == pytest.approx([0.0] * 5 + [0.5] * 10 + [0.05] * 5 + [0.5] * 10 + [0.0] * 10)


def test_every_block_wakes_all_who_wait(in_virtual_time: InVirtualTime) -> None:
    async def scenario() -> list[int]:
        playout = new_playout()
        playout.write(loud(1.0))
        seen: list[int] = []

        async def watch() -> None:
            seen.extend([await playout.wait_advanced() for _ in range(3)])

        async with asyncio.TaskGroup() as group:
            group.create_task(watch())
            group.create_task(watch())
            await asyncio.sleep(0)
            for _ in range(3):
                await playout.next_block()
                await asyncio.sleep(0.001)
        return seen

    assert sorted(in_virtual_time(scenario())) == [480, 480, 960, 960, 1440, 1440]


def test_the_end_wakes_who_waits(in_virtual_time: InVirtualTime) -> None:
    async def scenario() -> None:
        playout = new_playout()
        await playout.next_block()

        async def expect_end(waiting: Coroutine[Any, Any, object]) -> None:
            with pytest.raises(CallClosed, match="call test is over"):
                await waiting

        async with asyncio.TaskGroup() as group:
            group.create_task(expect_end(playout.wait_advanced()))
            group.create_task(expect_end(playout.next_block()))
            await asyncio.sleep(0)
            playout.close()
            playout.close()
        await expect_end(playout.wait_advanced())
        await expect_end(playout.next_block())

    in_virtual_time(scenario())
