"""Whole calls between real aiortc peers over UDP on loopback: audio, messages, and every way to end."""

import asyncio
import contextlib
import logging
import re
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import pytest
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from numpy.typing import NDArray

from benchmarks.far_end import waveform
from benchmarks.far_end.caller import Caller, encode
from benchmarks.far_end.impairment import Network
from webrtc.config import WebRTCConfig
from webrtc.interface import (
    CallClosed,
    CandidateRejected,
    CloseReason,
    MicrophoneFrame,
    NotConnected,
    RestartRefused,
)
from webrtc.peer.call import PeerCall
from webrtc.peer.connection import Candidate
from webrtc.peer.offer import SessionDescription

pytestmark = pytest.mark.usefixtures("nothing_left")

WAIT_S = 15.0  # for what comes at once unless the test fails


def tone(seconds: float, rate_hz: int, hz: float = 440.0) -> NDArray[np.float32]:
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(round(rate_hz * seconds)) / rate_hz)).astype(np.float32)


async def offer_of(peer: RTCPeerConnection) -> SessionDescription:
    await peer.setLocalDescription(await peer.createOffer())
    return SessionDescription(peer.localDescription.sdp, peer.localDescription.type)


@contextlib.asynccontextmanager
async def other_peer(*kinds: str) -> Any:
    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    for kind in kinds:
        peer.addTransceiver(kind)
    peer.createDataChannel("chat")
    try:
        yield peer
    finally:
        await peer.close()


async def test_the_caller_is_heard_as_said(config: WebRTCConfig) -> None:
    async with PeerCall(config) as call, Caller(call) as caller, asyncio.timeout(WAIT_S):
        await call.wait_connected()
        await caller.say_packets(encode(tone(1.0, 48_000)))
        frames = [await anext(call.microphone) for _ in range(60)]
        samples = np.concatenate([frame.samples for frame in frames])
        loud = samples[np.abs(samples).max(initial=0) * 0.5 < np.abs(samples)]
        assert loud.size > 4_000
        strongest_hz = int(np.argmax(np.abs(np.fft.rfft(samples)))) * 16_000 / samples.size
        assert strongest_hz == pytest.approx(440, abs=10)
        assert [frame.position_samples for frame in frames] == [n * 320 for n in range(60)]


async def test_stereo_packets_of_60_ms_are_heard(config: WebRTCConfig) -> None:
    async with PeerCall(config) as call, Caller(call, packet_ms=60) as caller, asyncio.timeout(WAIT_S):
        await caller.say_packets(encode(tone(0.6, 48_000), packet_ms=60, channels=2))
        loudest = 0.0
        async for frame in call.microphone:
            loudest = max(loudest, float(np.abs(frame.samples).max()))
            if loudest > 0.3:
                break


async def test_what_is_written_is_heard_whole_and_once(config: WebRTCConfig) -> None:
    async with PeerCall(config) as call, Caller(call) as caller, asyncio.timeout(WAIT_S):
        rng = np.random.default_rng(0)
        spoken = np.interp(np.arange(24_000), np.arange(0, 24_000, 8), rng.standard_normal(3_000) * 0.1)
        spoken = spoken.astype(np.float32)
        call.playout.write(spoken)
        call.playout.finish()
        while call.playout.lead_samples:
            await call.playout.wait_advanced()
        for _ in range(5):
            await call.playout.wait_advanced()
        heard = caller.recording().samples
        reference = np.repeat(spoken, 2)
        start, correlation = waveform.find(reference[:40_000], heard)
        assert correlation > 0.9
        _, correlation = waveform.find(reference[40_000:], heard[start + 40_000 - 10 :])
        assert correlation > 0.9
        assert call.playout.position_samples == 24_000
        assert call.playout.underruns == 0


async def test_a_flush_is_heard_as_silence_and_nothing_follows(config: WebRTCConfig) -> None:
    async with PeerCall(config) as call, Caller(call) as caller, asyncio.timeout(WAIT_S):
        call.playout.write(tone(5.0, 24_000))
        while call.playout.position_samples < 9_600:
            await call.playout.wait_advanced()
        end = call.playout.cut()
        for _ in range(20):
            await call.playout.wait_advanced()
        recording = caller.recording()
        last = waveform.last_audible(recording.samples)
        first = waveform.first_audible(recording.samples)
        assert first is not None and last is not None
        assert last - first == pytest.approx(end * 2, abs=960)
        assert call.playout.position_samples == end


async def test_rtp_never_stops(config: WebRTCConfig) -> None:
    async with PeerCall(config) as call, Caller(call) as caller, asyncio.timeout(WAIT_S):
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
    async with PeerCall(config) as call, Caller(call, network=network) as caller, asyncio.timeout(WAIT_S):
        await caller.say_packets(encode(tone(3.0, 48_000)))
        frames: list[MicrophoneFrame] = [await anext(call.microphone) for _ in range(100)]
        assert [frame.position_samples for frame in frames] == [n * 320 for n in range(100)]
        assert call.microphone.stats.lost > 0
        assert any(frame.is_concealed for frame in frames)
        assert sum(frame.is_concealed for frame in frames) < 60


async def test_aiortc_decodes_nothing_itself(config: WebRTCConfig) -> None:
    """Its receiver hands every packet to us: its own queue of decoded frames stays empty."""
    async with PeerCall(config) as call, Caller(call), asyncio.timeout(WAIT_S):
        for _ in range(30):
            await anext(call.microphone)
        [transceiver] = call._peer.getTransceivers()
        track = transceiver.receiver.track
        assert vars(track)["_queue"].empty()
        stats = await transceiver.receiver.getStats()
        [inbound] = [report for report in stats.values() if report.type == "inbound-rtp"]
        assert inbound.packetsReceived >= 30
        assert inbound.packetsLost == 0


async def test_messages_go_both_ways_in_order_and_wait_for_the_channel(config: WebRTCConfig) -> None:
    call = PeerCall(config)
    for n in range(3):
        call.send(f"early {n}")
    async with call, Caller(call) as caller, asyncio.timeout(WAIT_S):
        caller.send("one")
        caller.send("ping: 1234")
        caller.send("two")
        assert [await anext(call.messages), await anext(call.messages)] == ["one", "two"]
        call.send("late")
        texts = [(await caller.next_message()).text for _ in range(4)]
        assert texts == ["early 0", "early 1", "early 2", "late"]


async def test_messages_are_bounded(config: WebRTCConfig) -> None:
    limits = config.model_copy(update={"message_capacity": 2, "max_message_chars": 10})
    call = PeerCall(limits)
    for n in range(5):
        call.send(f"early {n}")
    async with call, Caller(call) as caller, asyncio.timeout(WAIT_S):
        caller.send("x" * 11)
        caller.send("short")
        assert await anext(call.messages) == "short"
        assert [(await caller.next_message()).text for _ in range(2)] == ["early 3", "early 4"]


async def test_a_camera_is_offered_in_vain(config: WebRTCConfig) -> None:
    async with other_peer("audio", "video") as peer, PeerCall(config) as call, asyncio.timeout(WAIT_S):
        answer = await call.answer(await offer_of(peer))
        assert answer.sdp.count("a=inactive") == 1
        assert answer.sdp.count("a=sendrecv") == 1
        await peer.setRemoteDescription(RTCSessionDescription(answer.sdp, answer.type))
        await call.wait_connected()
        assert [t.currentDirection for t in peer.getTransceivers()] == ["sendrecv", "inactive"]


async def test_only_opus_is_answered(config: WebRTCConfig) -> None:
    async with other_peer("audio") as peer, PeerCall(config) as call:
        answer = await call.answer(await offer_of(peer))
        assert "opus/48000/2" in answer.sdp
        assert "PCMU" not in answer.sdp


async def test_candidates_may_follow_the_offer(config: WebRTCConfig) -> None:
    async with other_peer("audio") as peer, PeerCall(config) as call, asyncio.timeout(WAIT_S):
        offer = await offer_of(peer)
        lines = offer.sdp.split("\r\n")
        candidates = list(dict.fromkeys(line[2:] for line in lines if line.startswith("a=candidate")))
        bare = [line for line in lines if not line.startswith(("a=candidate", "a=end-of-candidates"))]
        trickling = "\r\n".join(bare).replace("a=ice-ufrag", "a=ice-options:trickle\r\na=ice-ufrag")
        with pytest.raises(CandidateRejected, match="before the offer"):
            await call.add_candidate(Candidate(candidates[0], "0", 0))
        answer = await call.answer(SessionDescription(trickling, "offer"))
        with pytest.raises(CandidateRejected, match="not an ICE candidate"):
            await call.add_candidate(Candidate("candidate:nonsense", "0", 0))
        for candidate in candidates:
            await call.add_candidate(Candidate(candidate, "0", 0))
        await call.add_candidate(Candidate("", "0", 0))
        await peer.setRemoteDescription(RTCSessionDescription(answer.sdp, answer.type))
        await call.wait_connected()


async def test_candidates_are_bounded(config: WebRTCConfig) -> None:
    async with other_peer("audio") as peer, PeerCall(config) as call:
        await call.answer(await offer_of(peer))
        line = "candidate:1 1 udp 1 127.0.0.1 5000 typ host"
        with pytest.raises(CandidateRejected, match="more than"):
            for _ in range(70):
                await call.add_candidate(Candidate(line, "0", 0))


async def test_a_second_offer_of_the_same_connection_is_answered(config: WebRTCConfig) -> None:
    async with PeerCall(config) as call, Caller(call) as caller, asyncio.timeout(WAIT_S):
        await caller.renegotiate()
        caller.send("still there")
        assert await anext(call.messages) == "still there"
        await anext(call.microphone)


async def test_a_second_offer_of_another_connection_is_refused_and_the_call_goes_on(config: WebRTCConfig) -> None:
    async with (
        other_peer("audio") as stranger,
        PeerCall(config) as call,
        Caller(call) as caller,
        asyncio.timeout(WAIT_S),
    ):
        with pytest.raises(RestartRefused, match="start a new call"):
            await call.answer(await offer_of(stranger))
        caller.send("still there")
        assert await anext(call.messages) == "still there"


async def test_the_caller_hangs_up(config: WebRTCConfig) -> None:
    async with PeerCall(config) as call, asyncio.timeout(WAIT_S):
        async with Caller(call):
            await anext(call.microphone)
        assert await call.wait_closed() is CloseReason.HUNG_UP
        async for _ in call.microphone:
            pass  # what was heard before; then it ends
        assert [message async for message in call.messages] == []
        with pytest.raises(CallClosed):
            await call.playout.wait_advanced()
        with pytest.raises(CallClosed):
            await call.add_candidate(Candidate("", None, None))
        call.send("into the void")


async def test_we_hang_up(config: WebRTCConfig) -> None:
    called: list[CloseReason | None] = []
    async with asyncio.timeout(WAIT_S):
        async with PeerCall(config) as call:
            call.when_closed(lambda: called.append(call.close_reason))
            async with Caller(call) as caller:
                await call.wait_connected()
                await call.close()
                await call.close()
                await caller.wait_closed()
        assert await call.wait_closed() is CloseReason.CLOSED
        call.when_closed(lambda: called.append(None))
        assert called == [CloseReason.CLOSED, None]


async def test_a_caller_that_vanishes_is_noticed(config: WebRTCConfig) -> None:
    impatient = config.model_copy(update={"silence_timeout_s": 0.3})
    async with PeerCall(impatient) as call, Caller(call) as caller, asyncio.timeout(WAIT_S):
        await anext(call.microphone)
        await caller.vanish()
        assert await call.wait_closed() is CloseReason.SILENT


async def test_a_caller_that_never_connects_is_given_up(config: WebRTCConfig) -> None:
    impatient = config.model_copy(update={"connect_timeout_s": 0.2})
    async with other_peer("audio") as peer, PeerCall(impatient) as call, asyncio.timeout(WAIT_S):
        await call.answer(await offer_of(peer))
        with pytest.raises(NotConnected, match="no connection came about"):
            await call.wait_connected()
        assert call.close_reason is CloseReason.NOT_CONNECTED


async def test_a_peer_whose_certificate_is_not_the_offered_one_is_not_let_in(config: WebRTCConfig) -> None:
    async with other_peer("audio") as peer, PeerCall(config) as call, asyncio.timeout(WAIT_S):
        offer = await offer_of(peer)
        forged = re.sub("(a=fingerprint:sha-256 )..", r"\g<1>00", offer.sdp)
        forged = re.sub("a=fingerprint:sha-(384|512).*\r\n", "", forged)
        answer = await call.answer(SessionDescription(forged, "offer"))
        await peer.setRemoteDescription(RTCSessionDescription(answer.sdp, answer.type))
        with pytest.raises(NotConnected, match="the connection failed"):
            await call.wait_connected()
        assert call.close_reason is CloseReason.LOST
        assert call.microphone.last_packet_s is None


async def test_an_answered_call_that_nobody_enters_frees_itself(config: WebRTCConfig) -> None:
    impatient = config.model_copy(update={"connect_timeout_s": 0.2})
    call = PeerCall(impatient)
    async with other_peer("audio") as peer, asyncio.timeout(WAIT_S):
        await call.answer(await offer_of(peer))
        assert await call.wait_closed() is CloseReason.NOT_CONNECTED


async def test_a_connected_call_that_nobody_enters_ends_too(config: WebRTCConfig) -> None:
    call = PeerCall(config.model_copy(update={"connect_timeout_s": 1.0}))
    async with asyncio.timeout(WAIT_S), Caller(call) as caller:
        assert await call.wait_closed() is CloseReason.CLOSED
        await caller.wait_closed()


async def test_a_call_that_was_never_answered_can_be_left(config: WebRTCConfig) -> None:
    async with PeerCall(config) as call:
        pass
    async with other_peer("audio") as peer:
        with pytest.raises(CallClosed):
            await call.answer(await offer_of(peer))


async def test_cancelled_twice_it_still_frees_everything(config: WebRTCConfig) -> None:
    call = PeerCall(config)
    entered = asyncio.Event()

    async def hold() -> None:
        async with call:
            entered.set()
            await call.wait_closed()

    async with asyncio.timeout(WAIT_S), Caller(call) as caller, asyncio.TaskGroup() as group:
        task = group.create_task(hold())
        await call.wait_connected()
        await entered.wait()
        task.cancel()
        await asyncio.sleep(0)
        task.cancel()
        await caller.wait_closed()
    assert task.cancelled()


async def test_one_call_does_not_disturb_another(config: WebRTCConfig) -> None:
    async with PeerCall(config) as first, Caller(first), asyncio.timeout(WAIT_S):
        async with PeerCall(config) as second, Caller(second) as rude:
            await anext(second.microphone)
            await rude.vanish()
        await anext(first.microphone)
        assert first.close_reason is None


async def test_the_log_names_the_call_and_holds_no_description(
    config: WebRTCConfig, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="webrtc"):
        async with PeerCall(config) as call, Caller(call) as caller, asyncio.timeout(WAIT_S):
            caller.send("a secret")
            await anext(call.messages)
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("webrtc")]
    assert lines == [f"call {call.id}: the caller hung up"]


def test_the_watchdog_waits_as_long_as_configured(
    in_virtual_time: Callable[[Coroutine[Any, Any, float]], float], config: WebRTCConfig
) -> None:
    async def scenario() -> float:
        loop = asyncio.get_running_loop()
        async with PeerCall(config) as call:
            start_s = loop.time()
            with pytest.raises(NotConnected):
                await call.wait_connected()
            return loop.time() - start_s

    assert in_virtual_time(scenario()) == pytest.approx(10.0)
