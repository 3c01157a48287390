"""The playout track on virtual time: pace, positions, and how soon a command is heard."""

import asyncio
from collections.abc import Callable, Coroutine
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from aiortc.mediastreams import MediaStreamError

from webrtc.interface import CallClosed
from webrtc.media.opus import OpusDecoder
from webrtc.media.playout import SAMPLE_RATE_HZ, Playout

InVirtualTime = Callable[[Coroutine[Any, Any, Any]], Any]

PACKET_SAMPLES = 480


def new_playout() -> Playout:
    return Playout(capacity_ms=10_000, bitrate_bps=32_000, call_id="test")


def loud(seconds: float) -> np.ndarray[Any, np.dtype[np.float32]]:
    count = round(SAMPLE_RATE_HZ * seconds)
    return (0.5 * np.sin(2 * np.pi * 440 * np.arange(count) / SAMPLE_RATE_HZ)).astype(np.float32)


def test_a_packet_every_20_ms_by_the_rtp_clock_with_or_without_speech(in_virtual_time: InVirtualTime) -> None:
    async def scenario() -> tuple[list[float], list[int]]:
        playout, loop = new_playout(), asyncio.get_running_loop()
        times: list[float] = []
        stamps: list[int] = []
        for n in range(100):
            if n == 30:
                playout.write(loud(0.5))
            packet = await playout.recv()
            times.append(loop.time())
            assert packet.pts is not None
            stamps.append(packet.pts)
        assert playout.clock_samples == 100 * PACKET_SAMPLES
        assert playout.position_samples == playout.written_samples == 12_000
        return times, stamps

    times, stamps = in_virtual_time(scenario())
    assert [b - a for a, b in pairwise(times)] == pytest.approx([0.020] * 99)
    assert stamps == [960 * n for n in range(100)]


def test_after_a_stall_it_catches_up_and_after_a_long_one_it_does_not(in_virtual_time: InVirtualTime) -> None:
    async def scenario() -> tuple[float, float, int]:
        playout, loop = new_playout(), asyncio.get_running_loop()
        await playout.recv()
        await asyncio.sleep(0.150)
        began_s = loop.time()
        for _ in range(7):
            await playout.recv()
        caught_up_s = loop.time() - began_s
        await asyncio.sleep(1.0)
        began_s = loop.time()
        for _ in range(7):
            await playout.recv()
        return caught_up_s, loop.time() - began_s, playout.stalls

    caught_up_s, paced_s, stalls = in_virtual_time(scenario())
    assert caught_up_s == pytest.approx(0)
    assert paced_s == pytest.approx(0.120)
    assert stalls == 1


def test_what_is_written_between_two_packets_is_in_the_next(in_virtual_time: InVirtualTime) -> None:
    async def scenario() -> list[float]:
        playout, decoder = new_playout(), OpusDecoder()
        levels: list[float] = []
        for n in range(40):
            if n == 5:
                assert playout.write(loud(1.0)) == 0
            if n == 15:
                playout.duck()
            if n == 20:
                playout.resume()
            if n == 30:
                assert playout.cut() == 25 * PACKET_SAMPLES + 240
                assert playout.lead_samples == 240
            levels.append(float(np.sqrt(np.mean(decoder.decode(bytes(await playout.recv())) ** 2))))
        assert playout.position_samples == playout.written_samples == 25 * PACKET_SAMPLES + 240
        assert playout.underruns == 0
        return levels

    levels = in_virtual_time(scenario())
    loudness = 0.5 / np.sqrt(2)
    assert levels[4] < 1e-4
    assert levels[5] > 0.7 * loudness
    assert levels[15] < 0.7 * loudness  # it ramps within this packet
    assert levels[17:20] == pytest.approx([loudness * 10 ** (-15 / 20)] * 3, rel=0.15)
    assert levels[21:30] == pytest.approx([loudness] * 9, rel=0.1)
    assert levels[31] < 0.05 * loudness
    assert max(levels[32:]) < 1e-3


def test_advanced_tells_every_packet_to_everybody(in_virtual_time: InVirtualTime) -> None:
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
                await playout.recv()
                await asyncio.sleep(0.001)
        return seen

    assert sorted(in_virtual_time(scenario())) == [480, 480, 960, 960, 1440, 1440]


def test_the_end_wakes_who_waits(in_virtual_time: InVirtualTime) -> None:
    async def scenario() -> None:
        playout = new_playout()

        async def watch() -> None:
            with pytest.raises(CallClosed, match="call test is over"):
                await playout.wait_advanced()

        async with asyncio.TaskGroup() as group:
            group.create_task(watch())
            await asyncio.sleep(0)
            playout.stop()
            playout.stop()
        await watch()
        with pytest.raises(MediaStreamError):
            await playout.recv()

    in_virtual_time(scenario())
