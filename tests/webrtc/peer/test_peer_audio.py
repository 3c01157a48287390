"""Audio between real aiortc peers over UDP on loopback: packets of any form, loss, and RTP that never stops."""

import asyncio

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.far_end.caller import Caller
from benchmarks.far_end.impairment import Network
from benchmarks.far_end.microphone import encode
from tests.fakes import PATIENCE_S
from webrtc.config import WebRTCConfig
from webrtc.interface import MicrophoneFrame
from webrtc.peer.call import PeerCall

pytestmark = pytest.mark.usefixtures("nothing_left")


def tone(seconds: float, rate_hz: int, hz: float = 440.0) -> NDArray[np.float32]:
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(round(rate_hz * seconds)) / rate_hz)).astype(np.float32)


async def test_stereo_packets_of_60_ms_are_heard(config: WebRTCConfig) -> None:
    async with PeerCall(config) as call, Caller(call, packet_ms=60) as caller, asyncio.timeout(PATIENCE_S):
        await caller.say_packets(encode(tone(0.6, 48_000), packet_ms=60, channels=2))
        loudest = 0.0
        async for frame in call.microphone:
            loudest = max(loudest, float(np.abs(frame.samples).max()))
            if loudest > 0.3:
                break


async def test_rtp_never_stops(config: WebRTCConfig) -> None:
    async with PeerCall(config) as call, Caller(call) as caller, asyncio.timeout(PATIENCE_S):
        for n in range(40):
            if n == 10:
                call.playout.write(tone(0.2, 24_000))
                call.playout.finish()
            await call.playout.wait_advanced()
        starts = caller.timeline().packet_starts
        assert len(starts) > 30
        assert set(np.diff(starts)) == {960}


async def test_loss_and_jitter_leave_the_timeline_whole(config: WebRTCConfig) -> None:
    network = Network(loss=0.1, jitter_ms=10, seed=1)
    async with PeerCall(config) as call, Caller(call, network=network) as caller, asyncio.timeout(PATIENCE_S):
        await caller.say_packets(encode(tone(3.0, 48_000)))
        frames: list[MicrophoneFrame] = [await anext(call.microphone) for _ in range(100)]
        assert [frame.position_samples for frame in frames] == [n * 320 for n in range(100)]
        assert call.microphone.stats.lost > 0
        assert {frame.is_concealed for frame in frames} == {True, False}


async def test_aiortc_decodes_nothing_itself(config: WebRTCConfig) -> None:
    """Its receiver hands every packet to us: its own queue of decoded frames stays empty."""
    async with PeerCall(config) as call, Caller(call), asyncio.timeout(PATIENCE_S):
        for _ in range(30):
            await anext(call.microphone)
        [transceiver] = call._peer.getTransceivers()
        track = transceiver.receiver.track
        assert vars(track)["_queue"].empty()
        stats = await transceiver.receiver.getStats()
        [inbound] = [report for report in stats.values() if report.type == "inbound-rtp"]
        assert inbound.packetsReceived >= 30
        assert inbound.packetsLost == 0
