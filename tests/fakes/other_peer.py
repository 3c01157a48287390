"""A caller's peer connection that is no `Caller`: it offers what a test wants, and goes no further by itself."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from aiortc import RTCConfiguration, RTCPeerConnection

from webrtc.peer.offer import SessionDescription


@asynccontextmanager
async def other_peer(*kinds: str) -> AsyncGenerator[RTCPeerConnection]:
    """A peer with a media line of each of these kinds and a data channel."""
    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    for kind in kinds:
        peer.addTransceiver(kind)
    peer.createDataChannel("chat")
    try:
        yield peer
    finally:
        await peer.close()


async def offer_of(peer: RTCPeerConnection) -> SessionDescription:
    """Its offer, candidates and all."""
    await peer.setLocalDescription(await peer.createOffer())
    return SessionDescription(peer.localDescription.sdp, peer.localDescription.type)
