"""How calls over a peer connection end, whether or not somebody owns them, and what the log says of it."""

import asyncio
import logging
import re
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from aiortc import RTCSessionDescription

from benchmarks.far_end.caller import Caller
from tests.fakes import PATIENCE_S
from tests.fakes.other_peer import offer_of, other_peer
from webrtc.config import WebRTCConfig
from webrtc.interface import CallClosed, CloseReason, NotConnected
from webrtc.peer.call import PeerCall
from webrtc.peer.connection import Candidate
from webrtc.peer.offer import SessionDescription

pytestmark = pytest.mark.usefixtures("nothing_left")


async def test_after_the_end_nothing_is_negotiated(config: WebRTCConfig) -> None:
    async with PeerCall(config) as call, asyncio.timeout(PATIENCE_S):
        async with Caller(call):
            await call.wait_connected()
        await call.wait_closed()
        with pytest.raises(CallClosed):
            await call.add_candidate(Candidate("", None, None))
        async with other_peer("audio") as peer:
            with pytest.raises(CallClosed):
                await call.answer(await offer_of(peer))


async def test_who_asked_is_called_once_when_the_call_is_over(config: WebRTCConfig) -> None:
    called: list[CloseReason | None] = []
    async with asyncio.timeout(PATIENCE_S), PeerCall(config) as call:
        call.when_closed(lambda: called.append(call.close_reason))
        await call.close()
        await call.close()
        call.when_closed(lambda: called.append(None))
    assert called == [CloseReason.CLOSED, None]


async def test_a_caller_that_vanishes_is_noticed(config: WebRTCConfig) -> None:
    async with PeerCall(config) as call, Caller(call) as caller, asyncio.timeout(PATIENCE_S):
        await anext(call.microphone)
        await caller.vanish()
        call._config = config.model_copy(update={"silence_timeout_s": 0.1})  # impatient from now on
        call._watch()
        assert await call.wait_closed() is CloseReason.SILENT


async def test_a_caller_that_never_connects_is_given_up(config: WebRTCConfig) -> None:
    impatient = config.model_copy(update={"connect_timeout_s": 0.2})
    async with other_peer("audio") as peer, PeerCall(impatient) as call, asyncio.timeout(PATIENCE_S):
        await call.answer(await offer_of(peer))
        with pytest.raises(NotConnected, match="no connection came about"):
            await call.wait_connected()
        assert call.close_reason is CloseReason.NOT_CONNECTED


async def test_a_peer_whose_certificate_is_not_the_offered_one_is_not_let_in(config: WebRTCConfig) -> None:
    async with other_peer("audio") as peer, PeerCall(config) as call, asyncio.timeout(PATIENCE_S):
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
    async with other_peer("audio") as peer, asyncio.timeout(PATIENCE_S):
        await call.answer(await offer_of(peer))
        assert await call.wait_closed() is CloseReason.NOT_CONNECTED


async def test_a_connected_call_that_nobody_enters_ends_too(config: WebRTCConfig) -> None:
    call = PeerCall(config)
    async with asyncio.timeout(PATIENCE_S), Caller(call) as caller:
        await call.wait_connected()
        call._deadline_s = 0.0  # it has passed
        call._watch()
        assert await call.wait_closed() is CloseReason.CLOSED
        await caller.wait_closed()


async def test_one_call_does_not_disturb_another(config: WebRTCConfig) -> None:
    async with PeerCall(config) as first, Caller(first), asyncio.timeout(PATIENCE_S):
        async with PeerCall(config) as second, Caller(second) as rude:
            await anext(second.microphone)
            await rude.vanish()
        await anext(first.microphone)
        assert first.close_reason is None


async def test_the_log_names_the_call_and_holds_no_description(
    config: WebRTCConfig, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="webrtc"):
        async with PeerCall(config) as call, Caller(call) as caller, asyncio.timeout(PATIENCE_S):
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
