"""Whether a caller's session description can become a call, decided before any socket is opened."""

from dataclasses import dataclass

from aiortc.sdp import MediaDescription
from aiortc.sdp import SessionDescription as ParsedDescription

from webrtc.interface import MalformedOffer, NoAudio, NoCandidates, NoOpus

MAX_MEDIA_LINES = 8
MAX_CANDIDATES = 64


@dataclass(frozen=True, slots=True)
class SessionDescription:
    """One side's half of the negotiation: SDP (RFC 8866) and whether it is an `offer` or an `answer`."""

    sdp: str
    type: str


@dataclass(frozen=True, slots=True)
class OfferedConnection:
    """What distinguishes one connection of a caller from the next."""

    username_fragment: str
    fingerprints: tuple[str, ...]


def check_offer(offer: SessionDescription) -> OfferedConnection:
    """The connection that a usable offer describes.

    Raises:
        MalformedOffer, NoAudio, NoOpus, NoCandidates: with one line that says what is missing.
    """
    if offer.type != "offer":
        raise MalformedOffer(f"the session description must be an offer, not {offer.type[:20]!r}")
    description = _parse(offer.sdp)
    media = description.media
    audio = [m for m in media if m.kind == "audio" and m.port != 0]
    if len(audio) != 1:
        raise NoAudio(f"the offer must have one audio line (m=audio), and has {len(audio)}")
    _check_audio(audio[0])
    _check_bundle(description)
    connections = [_check_transport(line) for line in media]
    candidates = sum(len(m.ice_candidates) for m in media)
    if candidates > MAX_CANDIDATES:
        raise MalformedOffer(f"the offer has {candidates} candidates, more than {MAX_CANDIDATES}")
    if not candidates and not any("trickle" in (m.ice_options or "") for m in media):
        raise NoCandidates(
            "the offer has no candidates and does not announce any (a=ice-options:trickle); "
            "wait for ICE gathering, and check that the caller has a network interface"
        )
    return connections[0]


def _parse(sdp: str) -> ParsedDescription:
    try:
        description = ParsedDescription.parse(sdp)
    except (ValueError, LookupError, AssertionError, AttributeError, TypeError, StopIteration) as error:
        # aiortc's parser trusts its input: these are what it raises on a line that is not as it expects.
        raise MalformedOffer("the session description is not SDP as of RFC 8866") from error
    media = description.media
    if not media:
        raise MalformedOffer("the session description is not SDP as of RFC 8866: it has no media line")
    if len(media) > MAX_MEDIA_LINES:
        raise MalformedOffer(f"the offer has {len(media)} media lines, more than {MAX_MEDIA_LINES}")
    return description


def _check_bundle(description: ParsedDescription) -> None:
    """The first line of a bundle lends its transport to the others (RFC 9143, section 7.2.1): it must be there."""
    names = [line.rtp.muxId for line in description.media]
    for group in description.group:
        if group.semantic != "BUNDLE" or not group.items:
            continue
        first = group.items[0]
        if first not in names or first in group.items[1:]:
            raise MalformedOffer(
                "the first line of the offer's bundle (a=group:BUNDLE) must be a line of it (a=mid), named once"
            )


def _check_audio(audio: MediaDescription) -> None:
    direction = audio.direction or "sendrecv"  # RFC 8866, section 6.7
    if direction != "sendrecv":
        raise NoAudio(f"the audio line must go both ways (a=sendrecv), and is {direction}")
    if not any(c.mimeType.lower() == "audio/opus" and c.clockRate == 48_000 for c in audio.rtp.codecs):
        names = ", ".join(sorted({c.name for c in audio.rtp.codecs})) or "none"
        raise NoOpus(f"the audio line must offer opus/48000/2; its codecs: {names[:200]}")


def _check_transport(line: MediaDescription) -> OfferedConnection:
    where = f"the {line.kind[:20]} line of the offer"
    if line.kind not in ("audio", "video", "application"):
        raise MalformedOffer(f"{where} is of no kind that a call can have")
    if line.ice is None or not line.ice.usernameFragment or not line.ice.password:
        raise MalformedOffer(f"{where} has no ICE credentials (a=ice-ufrag, a=ice-pwd)")
    if line.dtls is None or not line.dtls.fingerprints:
        raise MalformedOffer(f"{where} has no DTLS parameters (a=fingerprint, a=setup)")
    if line.kind != "application" and not line.rtcp_mux:
        raise MalformedOffer(f"{where} must multiplex RTCP (a=rtcp-mux)")
    return OfferedConnection(line.ice.usernameFragment, tuple(f.value.upper() for f in line.dtls.fingerprints))
