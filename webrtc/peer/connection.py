"""aiortc's side of a call: a peer connection made for one voice, its answer to an offer, its candidates, its end."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

import aioice.ice
from aiortc import (
    RTCConfiguration,
    RTCDtlsTransport,
    RTCIceServer,
    RTCPeerConnection,
    RTCRtpSender,
    RTCSessionDescription,
)
from aiortc.exceptions import InvalidAccessError, InvalidStateError, OperationError
from aiortc.rtcconfiguration import RTCBundlePolicy
from aiortc.sdp import candidate_from_sdp

from webrtc.config import WebRTCConfig
from webrtc.interface import CallClosed, CallError, CandidateRejected, MalformedOffer
from webrtc.media.microphone import PacketMicrophone
from webrtc.peer.diversion import divert_packets
from webrtc.peer.offer import SessionDescription
from webrtc.peer.reassembly import bound_reassembly
from webrtc.peer.track import PlayoutTrack

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Candidate:
    """An ICE candidate that follows the offer; an empty `candidate` says that it was the last."""

    candidate: str
    sdp_mid: str | None
    sdp_mline_index: int | None


def new_peer(config: WebRTCConfig, track: PlayoutTrack, microphone: PacketMicrophone) -> RTCPeerConnection:
    """A peer connection that sends `track` and gives the caller's packets to `microphone`, Opus both ways."""
    servers = [
        RTCIceServer(
            urls=server.url,
            username=server.username,
            credential=server.credential.get_secret_value() if server.credential else None,
        )
        for server in config.ice_servers
    ]
    peer = RTCPeerConnection(RTCConfiguration(iceServers=servers, bundlePolicy=RTCBundlePolicy.MAX_BUNDLE))
    transceiver = peer.addTransceiver(track, direction="sendrecv")
    capabilities = RTCRtpSender.getCapabilities("audio")
    assert capabilities is not None
    transceiver.setCodecPreferences([c for c in capabilities.codecs if c.mimeType.lower() == "audio/opus"])
    divert_packets(transceiver.receiver, microphone.receive)
    return peer


async def negotiate(
    peer: RTCPeerConnection,
    offer: SessionDescription,
    max_message_bytes: int,
    on_endless_message: Callable[[], None],
) -> SessionDescription:
    """The answer to an offer that was checked.

    Args:
        peer: of the call.
        offer: the caller's.
        max_message_bytes: longest data channel message.
        on_endless_message: called once, when the caller has sent more of a message and not ended it.

    Raises:
        MalformedOffer: aiortc cannot answer it.
        CallClosed: the connection is closed.
        CallError: this machine has no address to offer.
    """
    try:
        await peer.setRemoteDescription(RTCSessionDescription(sdp=offer.sdp, type=offer.type))
        if peer.sctp is not None:
            bound_reassembly(peer.sctp, max_message_bytes, on_endless_message)
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
        if aioice.ice.get_host_addresses(use_ipv4=True, use_ipv6=True):
            raise MalformedOffer("the offer cannot be answered: none of its lines leaves a transport to answer with")
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


async def close_peer(peer: RTCPeerConnection, *, call_id: str) -> None:
    """Free what a peer connection holds, also where aiortc's own close breaks off half-way."""
    try:
        await peer.close()
    except Exception as error:  # an offer that it could not apply leaves it in states that it does not expect
        _log.warning("call %s: aiortc could not close the connection (%r); its parts are stopped", call_id, error)
    else:
        return
    transceivers = peer.getTransceivers()
    transports: dict[RTCDtlsTransport | None, None] = {t.receiver.transport: None for t in transceivers}
    if peer.sctp is not None:
        transports[peer.sctp.transport] = None
    dtls = [transport for transport in transports if transport is not None]
    for part in (*transceivers, *([peer.sctp] if peer.sctp else []), *dtls, *(t.transport for t in dtls)):
        try:
            await part.stop()
        except Exception as error:
            _log.debug("call %s: %s could not be stopped: %r", call_id, type(part).__name__, error)
