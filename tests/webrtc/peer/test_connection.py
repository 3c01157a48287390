"""aiortc's side of a call, where aiortc does not do as it should."""

import re

import pytest
from aiortc import RTCConfiguration, RTCPeerConnection

from webrtc.config import WebRTCConfig
from webrtc.interface import MalformedOffer
from webrtc.peer import call as call_module
from webrtc.peer.call import PeerCall
from webrtc.peer.offer import OfferedConnection, SessionDescription


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("bundle", ["9 0", "0 0"])
async def test_an_offer_that_leaves_aiortc_half_way(
    config: WebRTCConfig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, bundle: str
) -> None:
    """Past our own check, the first loses its transport and breaks aiortc's close; the second gathers nothing."""
    monkeypatch.setattr(call_module, "check_offer", lambda offer: OfferedConnection("x", ()))
    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    peer.addTransceiver("audio")
    await peer.setLocalDescription(await peer.createOffer())
    sdp = re.sub("a=group:BUNDLE.*\r", f"a=group:BUNDLE {bundle}\r", peer.localDescription.sdp)
    await peer.close()
    async with PeerCall(config) as call:
        with pytest.raises(MalformedOffer):
            await call.answer(SessionDescription(sdp, "offer"))
    assert ("its parts are stopped" in caplog.text) is (bundle == "9 0")
    caplog.clear()  # aiortc's own task of the connection fails as well, and nobody can await it
