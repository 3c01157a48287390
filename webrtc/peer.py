"""aiortc's side of a call: a peer connection made for one voice, its answer to an offer, its candidates."""

from dataclasses import dataclass

from aiortc import RTCConfiguration, RTCIceServer, RTCPeerConnection, RTCRtpSender, RTCSessionDescription
from aiortc.exceptions import InvalidAccessError, InvalidStateError, OperationError
from aiortc.rtcconfiguration import RTCBundlePolicy
from aiortc.sdp import candidate_from_sdp

from webrtc.config import WebRTCConfig
from webrtc.errors import CallClosed, CallError, CandidateRejected, MalformedOffer
from webrtc.microphone import Microphone, divert_packets
from webrtc.offer import SessionDescription
from webrtc.playout import Playout


@dataclass(frozen=True, slots=True)
class Candidate:
    """An ICE candidate that follows the offer; an empty `candidate` says that it was the last."""

    candidate: str
    sdp_mid: str | None
    sdp_mline_index: int | None


def new_peer(config: WebRTCConfig, playout: Playout, microphone: Microphone) -> RTCPeerConnection:
    """A peer connection that sends `playout` and gives the caller's packets to `microphone`, Opus both ways."""
    servers = [
        RTCIceServer(
            urls=server.url,
            username=server.username,
            credential=server.credential.get_secret_value() if server.credential else None,
        )
        for server in config.ice_servers
    ]
    peer = RTCPeerConnection(RTCConfiguration(iceServers=servers, bundlePolicy=RTCBundlePolicy.MAX_BUNDLE))
    transceiver = peer.addTransceiver(playout, direction="sendrecv")
    capabilities = RTCRtpSender.getCapabilities("audio")
    assert capabilities is not None
    transceiver.setCodecPreferences([c for c in capabilities.codecs if c.mimeType.lower() == "audio/opus"])
    divert_packets(transceiver.receiver, microphone.receive)
    return peer


async def negotiate(peer: RTCPeerConnection, offer: SessionDescription) -> SessionDescription:
    """The answer to an offer that was checked.

    Raises:
        MalformedOffer: aiortc cannot answer it.
        CallClosed: the connection is closed.
        CallError: this machine has no address to offer.
    """
    try:
        await peer.setRemoteDescription(RTCSessionDescription(sdp=offer.sdp, type=offer.type))
        for transceiver in peer.getTransceivers():
            if transceiver.kind == "video":
                transceiver.direction = "inactive"  # stock clients offer a camera
        await peer.setLocalDescription(await peer.createAnswer())
    except (OperationError, InvalidAccessError, ValueError, LookupError, AssertionError, AttributeError) as error:
        raise MalformedOffer(f"the offer cannot be answered: {str(error)[:200] or type(error).__name__}") from error
    except InvalidStateError as error:
        raise CallClosed("the connection is closed") from error
    local = peer.localDescription
    if "a=candidate" not in local.sdp:
        raise CallError("this machine has no network address to offer; on loopback only, set loopback = true")
    return SessionDescription(sdp=local.sdp, type=local.type)


async def add_candidate(peer: RTCPeerConnection, candidate: Candidate) -> None:
    """Take a candidate that follows the offer.

    Raises:
        CandidateRejected: not a candidate.
    """
    if not candidate.candidate:
        await peer.addIceCandidate(None)
        return
    try:
        parsed = candidate_from_sdp(candidate.candidate.removeprefix("candidate:"))
        parsed.sdpMid = candidate.sdp_mid
        parsed.sdpMLineIndex = candidate.sdp_mline_index
        await peer.addIceCandidate(parsed)
    except (ValueError, LookupError, AssertionError) as error:
        raise CandidateRejected(f"not an ICE candidate of RFC 8839: {candidate.candidate[:100]!r}") from error
