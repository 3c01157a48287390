"""Offers and candidates over real HTTP: calls that come in, are renegotiated or restarted, and what is no offer."""

import re

import pytest
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription

from benchmarks.far_end.caller import Caller
from tests.fakes.owner import Owner, refused, url
from webrtc.browser.signalling import PATH
from webrtc.interface import CloseReason

pytestmark = pytest.mark.usefixtures("nothing_left")


async def test_a_caller_comes_in_and_hangs_up(owner: Owner) -> None:
    async with await owner.serve() as client, Caller(url(client)) as caller:
        [call] = owner.calls
        caller.send("hello")
        assert await anext(call.messages) == "hello"
        await anext(call.microphone)
    assert await call.wait_closed() is CloseReason.HUNG_UP


async def test_the_answer_names_the_call_but_not_by_its_id_in_the_log(owner: Owner, offer: dict[str, str]) -> None:
    async with await owner.serve() as client, client.post(PATH, json=offer) as response:
        assert response.status == 200
        answer = await response.json()
    assert sorted(answer) == ["pc_id", "sdp", "type"]
    assert answer["type"] == "answer"
    assert owner.calls[0].id not in answer["pc_id"]


async def test_what_pipecats_clients_send_is_understood(owner: Owner) -> None:
    """Camera lines, their extra fields, and candidates that follow by PATCH."""
    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    for kind in ("audio", "video", "video"):
        peer.addTransceiver(kind)
    peer.createDataChannel("chat")
    await peer.setLocalDescription(await peer.createOffer())
    lines = peer.localDescription.sdp.split("\r\n")
    bare = [line for line in lines if not line.startswith(("a=candidate", "a=end-of-candidates"))]
    body = {
        "sdp": "\r\n".join(bare).replace("a=ice-ufrag", "a=ice-options:trickle\r\na=ice-ufrag"),
        "type": "offer",
        "pc_id": None,
        "restart_pc": False,
        "requestData": {"anything": 1},
    }
    async with await owner.serve() as client:
        async with client.post(PATH, json=body) as response:
            answer = await response.json()
        candidates = [
            {"candidate": line[2:], "sdp_mid": "0", "sdp_mline_index": 0}
            for line in dict.fromkeys(lines)
            if line.startswith("a=candidate")
        ]
        end = {"candidate": "", "sdp_mid": "0", "sdp_mline_index": 0}
        patch = {"pc_id": answer["pc_id"], "candidates": [*candidates, end]}
        async with client.patch(PATH, json=patch) as response:
            assert (response.status, await response.json()) == (200, {"status": "success"})
        await peer.setRemoteDescription(RTCSessionDescription(answer["sdp"], answer["type"]))
        await owner.calls[0].wait_connected()
        await peer.close()


async def test_a_body_that_is_no_offer(owner: Owner) -> None:
    bodies = {
        b"": "Invalid JSON",
        b'{"type": "offer"}': "sdp: Field required",
        b'{"sdp": "x", "type": "offer"}': "not SDP",
        b'{"sdp": "x", "type": "answer"}': "must be an offer",
    }
    async with await owner.serve() as client:
        for raw, says in bodies.items():
            async with client.post(PATH, data=raw) as response:
                status, error = await refused(response)
            assert status == 400
            assert says in error
    assert not owner.calls


async def test_an_offer_without_audio_or_opus(owner: Owner, offer: dict[str, str]) -> None:
    async with await owner.serve() as client:
        no_opus = {**offer, "sdp": "\r\n".join(x for x in offer["sdp"].split("\r\n") if "opus" not in x)}
        async with client.post(PATH, json=no_opus) as response:
            assert await refused(response) == (
                400,
                "the audio line must offer opus/48000/2; its codecs: G722, PCMA, PCMU",
            )
        video = {**offer, "sdp": offer["sdp"].replace("m=audio", "m=video")}
        async with client.post(PATH, json=video) as response:
            assert await refused(response) == (400, "the offer must have one audio line (m=audio), and has 0")


async def test_two_offers_for_one_call_are_one_call(owner: Owner, offer: dict[str, str]) -> None:
    async with await owner.serve() as client, Caller(url(client)) as caller:
        await caller.renegotiate()
        stranger = {**offer, "pc_id": caller.pc_id}
        async with client.post(PATH, json=stranger) as response:
            status, error = await refused(response)
            assert (status, "start a new call" in error) == (409, True)
        [call] = owner.calls
        caller.send("still there")
        assert await anext(call.messages) == "still there"


async def test_a_restart_ends_the_old_call_and_begins_another(owner: Owner, offer: dict[str, str]) -> None:
    async with await owner.serve(max_calls=1) as client, Caller(url(client)) as caller:
        async with client.post(PATH, json={**offer, "pc_id": caller.pc_id, "restart_pc": True}) as response:
            assert response.status == 200
            assert (await response.json())["pc_id"] != caller.pc_id
        await caller.wait_closed()
        assert [call.close_reason for call in owner.calls] == [CloseReason.CLOSED, None]


async def test_candidates_for_no_call_and_candidates_that_are_none(owner: Owner, offer: dict[str, str]) -> None:
    async with await owner.serve() as client:
        async with client.patch(PATH, json={"pc_id": "x", "candidates": []}) as response:
            assert await refused(response) == (404, "there is no such call; it may have ended")
        async with client.post(PATH, json=offer) as response:
            pc_id = (await response.json())["pc_id"]
        bad = {"candidate": "candidate:nonsense", "sdp_mid": "0", "sdp_mline_index": 0}
        async with client.patch(PATH, json={"pc_id": pc_id, "candidates": [bad]}) as response:
            status, error = await refused(response)
            assert (status, "not an ICE candidate" in error) == (400, True)
        async with client.patch(PATH, json={"pc_id": pc_id, "candidates": [{}]}) as response:
            assert await refused(response) == (400, "candidates.0.candidate: Field required")


async def test_an_offer_whose_bundle_is_broken_is_at_fault(owner: Owner, offer: dict[str, str]) -> None:
    async with await owner.serve() as client:
        for was, now in (("m=application.*\r\n", ""), ("BUNDLE 0 1", "BUNDLE 0 0")):
            broken = {**offer, "sdp": re.sub(was, now, offer["sdp"])}
            async with client.post(PATH, json=broken) as response:
                status, error = await refused(response)
                assert (status, "bundle (a=group:BUNDLE)" in error) == (400, True)
