"""The Python caller: what it says arrives, what it hears is laid out on the server's clock."""

import asyncio
from typing import cast

import numpy as np
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from numpy.typing import NDArray

from benchmarks.far_end import waveform
from benchmarks.far_end.caller import Caller, CallRefused, HeardPacket
from benchmarks.far_end.microphone import encode
from tests.fakes import PATIENCE_S
from webrtc.config import WebRTCConfig
from webrtc.peer.call import PeerCall


@pytest.fixture
def config() -> WebRTCConfig:
    return WebRTCConfig(loopback=True)


def tone(seconds: float, rate_hz: int = 48_000) -> NDArray[np.float32]:
    return (0.5 * np.sin(2 * np.pi * 440 * np.arange(round(rate_hz * seconds)) / rate_hz)).astype(np.float32)


async def test_packets_are_laid_out_by_their_timestamps_across_the_wrap() -> None:
    payloads = encode(tone(0.12))
    caller = Caller("http://unused.example")
    first = (1 << 32) - 2 * 960
    for arrival, n in enumerate((1, 0, 2, 5)):  # overtaken at the start, and 3 and 4 lost
        caller.packets.append(HeardPacket(float(arrival), (first + n * 960) % (1 << 32), payloads[n]))
        caller.recording()  # in between, as measurements do
    recording = caller.recording()
    assert recording.packet_starts.tolist() == [0, 960, 1920, 4800]
    assert recording.arrivals_s.tolist() == [1.0, 0.0, 2.0, 3.0]
    assert recording.samples.shape == (5760,)
    assert not recording.samples[2880:4800].any()
    assert np.abs(recording.samples[4800:]).max() > 0.1
    timeline = caller.timeline()
    assert timeline.samples.size == 0
    np.testing.assert_array_equal(timeline.packet_starts, recording.packet_starts)
    np.testing.assert_array_equal(timeline.arrivals_s, recording.arrivals_s)


def test_encoding_pads_the_last_packet() -> None:
    assert len(encode(tone(0.05))) == 3
    assert len(encode(tone(0.05), packet_ms=10)) == 5
    assert len(encode(tone(0.05, 16_000), sample_rate_hz=16_000)) == 3


def test_encoding_refuses_anything_but_one_channel_of_float32() -> None:
    for bad in (np.zeros(10), np.zeros((2, 10), np.float32)):
        with pytest.raises(ValueError, match="one channel of float32"):
            encode(cast(NDArray[np.float32], bad))


async def test_utterances_follow_one_another_from_the_start_of_a_packet(config: WebRTCConfig) -> None:
    async with PeerCall(config) as call, Caller(call) as caller, asyncio.timeout(PATIENCE_S):
        async with asyncio.TaskGroup() as group:
            first = group.create_task(caller.say(tone(0.1)))
            second = group.create_task(caller.say_packets(encode(tone(0.1))))
        assert abs(second.result() - first.result()) > 0.05
        loud = 0
        async for frame in call.microphone:
            loud += bool(np.abs(frame.samples).max() > 0.1)
            if loud == 10:
                break


async def test_what_is_not_yet_said_can_be_dropped(config: WebRTCConfig) -> None:
    async with PeerCall(config) as call, Caller(call) as caller, asyncio.timeout(PATIENCE_S):
        await caller.say_packets(encode(tone(60.0)))
        async for frame in call.microphone:
            if np.abs(frame.samples).max() > 0.3:
                break
        caller.stop_speaking()
        async for frame in call.microphone:
            if np.abs(frame.samples).max() < 0.001:
                break


async def test_lost_packets_are_lost_on_the_way_and_not_in_the_sequence(config: WebRTCConfig) -> None:
    async with PeerCall(config) as call, Caller(call) as caller, asyncio.timeout(PATIENCE_S):
        await anext(call.microphone)
        caller.lose_packets(3)
        while not call.microphone.stats.lost:
            await anext(call.microphone)
        assert call.microphone.stats.lost == 3


async def test_what_is_heard_is_heard_after_it_was_spoken(config: WebRTCConfig) -> None:
    async with PeerCall(config) as call, Caller(call) as caller, asyncio.timeout(PATIENCE_S):
        await call.playout.wait_advanced()
        spoken_s = asyncio.get_running_loop().time()
        call.playout.write(tone(0.5, 24_000))
        call.playout.finish()
        while call.playout.lead_samples:
            await call.playout.wait_advanced()
        flushed_s = asyncio.get_running_loop().time()
        for _ in range(3):
            await call.playout.wait_advanced()
        onset_s = waveform.onset_s(caller.recording(), spoken_s)
        assert onset_s is not None
        assert spoken_s < onset_s < flushed_s


@pytest.mark.parametrize("body", ['{"error": "no"}', "gateway timeout", "[]"])
async def test_a_refusal_carries_status_and_reason(body: str) -> None:
    async def refuse(_: web.Request) -> web.Response:
        return web.Response(status=503, text=body, content_type="application/json", headers={"Retry-After": "4"})

    app = web.Application()
    app.router.add_post("/api/offer", refuse)
    async with TestServer(app) as server:
        with pytest.raises(CallRefused) as caught:
            async with Caller(str(server.make_url("/"))):
                pass
    assert (caught.value.status, caught.value.retry_after_s) == (503, 4)
