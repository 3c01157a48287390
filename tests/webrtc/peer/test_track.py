"""The playout as aiortc takes it: RTP timestamps, loudness, and its end."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import pytest
from aiortc.mediastreams import MediaStreamError

from webrtc.interface import PLAYOUT_RATE_HZ, CallClosed
from webrtc.media.opus import OpusDecoder
from webrtc.media.playout import PacedPlayout
from webrtc.peer.track import PlayoutTrack

InVirtualTime = Callable[[Coroutine[Any, Any, Any]], Any]


def new_track() -> tuple[PacedPlayout, PlayoutTrack]:
    playout = PacedPlayout(capacity_ms=10_000, call_id="test")
    return playout, PlayoutTrack(playout, bitrate_bps=32_000)


def test_a_packet_has_20_ms_of_the_rtp_clock_and_what_was_written(in_virtual_time: InVirtualTime) -> None:
    async def scenario() -> tuple[list[int | None], list[float]]:
        (playout, track), decoder = new_track(), OpusDecoder()
        stamps: list[int | None] = []
        levels: list[float] = []
        for n in range(30):
            if n == 10:
                ticks = np.arange(PLAYOUT_RATE_HZ // 5)
                playout.write((0.5 * np.sin(2 * np.pi * 440 * ticks / PLAYOUT_RATE_HZ)).astype(np.float32))
            packet = await track.recv()
            stamps.append(packet.pts)
            levels.append(float(np.sqrt(np.mean(decoder.decode(bytes(packet)) ** 2))))
        return stamps, levels

    stamps, levels = in_virtual_time(scenario())
    assert stamps == [960 * n for n in range(30)]
    assert max(levels[:10]) < 1e-4
    assert levels[11:20] == pytest.approx([0.5 / np.sqrt(2)] * 9, rel=0.1)
    assert max(levels[23:]) < 2e-3


@pytest.mark.parametrize("stops_first", [True, False], ids=["before", "while a packet is awaited"])
def test_a_stopped_track_gives_no_packet_and_ends_its_playout(
    in_virtual_time: InVirtualTime, stops_first: bool
) -> None:
    async def scenario() -> None:
        playout, track = new_track()
        await track.recv()
        if not stops_first:
            asyncio.get_running_loop().call_later(0.010, track.stop)
        else:
            track.stop()
            track.stop()
        with pytest.raises(MediaStreamError):
            await track.recv()
        with pytest.raises(CallClosed):
            await playout.wait_advanced()

    in_virtual_time(scenario())
