"""The place where aiortc's receive path is bypassed."""

import pytest
from aiortc import RTCPeerConnection
from aiortc.rtp import RtpPacket

from webrtc.peer.diversion import divert_packets


async def test_aiortc_still_has_the_buffer_that_is_replaced() -> None:
    """The name is private to aiortc: this fails when an upgrade moves it."""
    peer = RTCPeerConnection()
    receiver = peer.addTransceiver("audio").receiver
    stock = vars(receiver)["_RTCRtpReceiver__jitter_buffer"]
    assert type(stock).__name__ == "JitterBuffer"
    assert callable(stock.add)
    taken: list[RtpPacket] = []
    divert_packets(receiver, taken.append)
    packet = RtpPacket(payload=b"x")
    assert vars(receiver)["_RTCRtpReceiver__jitter_buffer"].add(packet) == (False, None)
    assert taken == [packet]
    await peer.close()


def test_a_receiver_without_it_is_refused() -> None:
    with pytest.raises(RuntimeError, match="pinned version"):
        divert_packets(object(), lambda packet: None)  # type: ignore[arg-type]
