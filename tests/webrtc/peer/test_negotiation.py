"""Offers, answers and candidates between real aiortc peers: what is taken, and what is refused."""

import asyncio

import pytest
from aiortc import RTCSessionDescription

from benchmarks.far_end.caller import Caller
from tests.fakes import PATIENCE_S
from tests.fakes.other_peer import offer_of, other_peer
from webrtc.config import WebRTCConfig
from webrtc.interface import CandidateRejected, RestartRefused
from webrtc.peer.call import PeerCall
from webrtc.peer.connection import Candidate
from webrtc.peer.offer import SessionDescription

pytestmark = pytest.mark.usefixtures("nothing_left")


async def test_a_camera_is_offered_in_vain(config: WebRTCConfig) -> None:
    async with other_peer("audio", "video") as peer, PeerCall(config) as call, asyncio.timeout(PATIENCE_S):
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
    async with other_peer("audio") as peer, PeerCall(config) as call, asyncio.timeout(PATIENCE_S):
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
    async with PeerCall(config) as call, Caller(call) as caller, asyncio.timeout(PATIENCE_S):
        await caller.renegotiate()
        caller.send("still there")
        assert await anext(call.messages) == "still there"
        await anext(call.microphone)


async def test_a_second_offer_of_another_connection_is_refused_and_the_call_goes_on(config: WebRTCConfig) -> None:
    async with (
        other_peer("audio") as stranger,
        PeerCall(config) as call,
        Caller(call) as caller,
        asyncio.timeout(PATIENCE_S),
    ):
        with pytest.raises(RestartRefused, match="start a new call"):
            await call.answer(await offer_of(stranger))
        caller.send("still there")
        assert await anext(call.messages) == "still there"
