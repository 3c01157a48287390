"""Offers that cannot become a call, each refused with one line that says why."""

import re

import pytest
from aiortc import RTCConfiguration, RTCPeerConnection

from webrtc.interface import MalformedOffer, NoAudio, NoCandidates, NoOpus, OfferRejected
from webrtc.peer.offer import SessionDescription, check_offer


@pytest.fixture
async def sdp() -> str:
    """What a well-behaved caller offers: one audio line and a data channel."""
    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    peer.addTransceiver("audio")
    peer.createDataChannel("chat")
    offer = await peer.createOffer()
    await peer.close()
    candidate = "a=candidate:1 1 udp 2130706431 127.0.0.1 50000 typ host\r\n"
    return offer.sdp.replace("a=ice-ufrag", candidate + "a=ice-ufrag")


def check(sdp: str) -> None:
    check_offer(SessionDescription(sdp, "offer"))


def test_a_good_offer_names_its_connection(sdp: str) -> None:
    connection = check_offer(SessionDescription(sdp, "offer"))
    assert connection.username_fragment == re.findall("a=ice-ufrag:(.*)\r", sdp)[0]
    assert connection.fingerprints


def test_what_is_not_sdp() -> None:
    for text in ["", "hello", "v=0", "m=", "m=audio x y z", "\x00" * 100, "v=zero\r\nm=audio 9 A 0"]:
        with pytest.raises(MalformedOffer, match="not SDP"):
            check(text)


def test_a_broken_line(sdp: str) -> None:
    for line in ["a=ssrc:x", "a=rtpmap:x", "a=candidate:1", "a=setup:never", "a=fmtp:77 a=b", "m=audio"]:
        with pytest.raises(MalformedOffer, match="not SDP"):
            check(sdp + line + "\r\n")


def test_an_answer_is_not_an_offer(sdp: str) -> None:
    with pytest.raises(MalformedOffer, match="must be an offer, not 'answer'"):
        check_offer(SessionDescription(sdp, "answer"))


def test_no_audio_line(sdp: str) -> None:
    head, _, data = re.split("(?=m=)", sdp)
    with pytest.raises(NoAudio, match="has 0"):
        check(head + data)


def test_two_audio_lines(sdp: str) -> None:
    head, audio, data = re.split("(?=m=)", sdp)
    with pytest.raises(NoAudio, match="has 2"):
        check(head + audio + audio + data)


def test_a_rejected_audio_line_is_none(sdp: str) -> None:
    with pytest.raises(NoAudio):
        check(re.sub("m=audio [0-9]+", "m=audio 0", sdp))


def test_audio_that_goes_one_way(sdp: str) -> None:
    for direction in ["sendonly", "recvonly", "inactive"]:
        with pytest.raises(NoAudio, match=f"is {direction}"):
            check(sdp.replace("a=sendrecv", f"a={direction}"))


def test_without_a_direction_audio_goes_both_ways(sdp: str) -> None:
    check(sdp.replace("a=sendrecv\r\n", ""))


def test_codecs_without_opus(sdp: str) -> None:
    with pytest.raises(NoOpus, match=r"its codecs: G722, PCMA, PCMU"):
        check("\r\n".join(line for line in sdp.split("\r\n") if "opus" not in line))


def test_no_candidates_and_none_to_come(sdp: str) -> None:
    without = re.sub("a=candidate.*\r\n", "", sdp)
    with pytest.raises(NoCandidates, match="network interface"):
        check(without)
    check(without.replace("a=ice-ufrag", "a=ice-options:trickle\r\na=ice-ufrag"))


def test_a_transport_that_lacks_something(sdp: str) -> None:
    for attribute, names in [
        ("a=ice-ufrag", "ICE"),
        ("a=ice-pwd", "ICE"),
        ("a=fingerprint", "DTLS"),
        ("a=setup", "DTLS"),
        ("a=rtcp-mux", "RTCP"),
    ]:
        with pytest.raises(MalformedOffer, match=names):
            check(re.sub(f"{attribute}.*\r\n", "", sdp))


def test_a_bundle_without_its_first_line(sdp: str) -> None:
    for group in ["2 0 1", "0 0", "0 1 0"]:
        with pytest.raises(MalformedOffer, match="first line of the offer's bundle"):
            check(re.sub("a=group:BUNDLE.*\r", f"a=group:BUNDLE {group}\r", sdp))


def test_a_bundle_whose_lines_have_run_together(sdp: str) -> None:
    with pytest.raises(MalformedOffer, match="first line of the offer's bundle"):
        check(re.sub("m=application.*\r\n", "", sdp))


def test_too_many_lines_and_candidates(sdp: str) -> None:
    data = re.split("(?=m=)", sdp)[-1]
    with pytest.raises(MalformedOffer, match="media lines, more than"):
        check(sdp + data * 10)
    candidates = "".join(f"a=candidate:{n} 1 udp 1 127.0.0.1 {5000 + n} typ host\r\n" for n in range(70))
    with pytest.raises(MalformedOffer, match="candidates, more than"):
        check(sdp + candidates)


def test_every_refusal_is_one_line(sdp: str) -> None:
    for bad in ("x\r\ny", sdp.replace("m=audio", "m=a\r\nm=audio"), sdp.replace("opus", "op\tus" * 200)):
        with pytest.raises(OfferRejected) as caught:
            check(bad)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 400
