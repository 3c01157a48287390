"""The routes over real HTTP: calls that come in, candidates, limits, and each refusal in its own words."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from pydantic import SecretStr

from benchmarks.far_end.caller import Caller, CallRefused
from webrtc.browser.signalling import PATH, Refusal, Signalling
from webrtc.config import SignallingConfig, WebRTCConfig
from webrtc.http.tokens import CallTokens
from webrtc.interface import CloseReason
from webrtc.peer.call import PeerCall

pytestmark = pytest.mark.usefixtures("nothing_left")

WAIT_S = 15.0


@dataclass
class Owner:
    """Stands for the process: takes calls and holds them until they end."""

    config: WebRTCConfig
    group: asyncio.TaskGroup
    calls: list[PeerCall] = field(default_factory=list)
    refusals: list[Refusal | None] = field(default_factory=list)  # of the next offers; then None

    async def serve(self, **limits: object) -> TestClient[web.Request, web.Application]:
        config = self.config.model_copy(update={"signalling": SignallingConfig.model_validate(limits)})
        signalling = Signalling(config, accept=self._accept, admit=self._admit)
        app = web.Application()
        app.add_routes(signalling.routes())
        return TestClient(TestServer(app))

    def _admit(self) -> Refusal | None:
        return self.refusals.pop(0) if self.refusals else None

    def _accept(self, call: PeerCall) -> None:
        self.calls.append(call)
        self.group.create_task(self._hold(call))

    async def _hold(self, call: PeerCall) -> None:
        async with call:
            await call.wait_closed()


@pytest.fixture
async def owner(config: WebRTCConfig) -> AsyncIterator[Owner]:
    async with asyncio.timeout(WAIT_S), asyncio.TaskGroup() as group:
        owner = Owner(config, group)
        yield owner
        for call in owner.calls:
            await call.close()


@pytest.fixture
async def offer() -> dict[str, str]:
    """The body of a good offer, from a caller that does not go on to connect."""
    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    peer.addTransceiver("audio")
    await peer.setLocalDescription(await peer.createOffer())
    body = {"sdp": peer.localDescription.sdp, "type": "offer"}
    await peer.close()
    return body


def url(client: TestClient[web.Request, web.Application]) -> str:
    return str(client.make_url("/"))


async def refused(response: aiohttp.ClientResponse) -> tuple[int, str]:
    """Status and error of a refusal, which is one line of JSON."""
    body = await response.json()
    assert list(body) == ["error"]
    assert "\n" not in body["error"]
    return response.status, body["error"]


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


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"", "Invalid JSON"),
        (b"{", "Invalid JSON"),
        (b"[]", "object"),
        (b"\xff\xfe", "Invalid JSON"),
        (b'{"type": "offer"}', "sdp: Field required"),
        (b'{"sdp": 7, "type": "offer"}', "sdp: Input should be a valid string"),
        (b'{"sdp": "x", "type": "offer"}', "not SDP"),
        (b'{"sdp": "x", "type": "answer"}', "must be an offer"),
    ],
)
async def test_a_body_that_is_no_offer(owner: Owner, raw: bytes, says: str) -> None:
    async with await owner.serve() as client, client.post(PATH, data=raw) as response:
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


@pytest.mark.parametrize("is_chunked", [False, True])
async def test_a_giant_body(owner: Owner, is_chunked: bool) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(64):
            yield b"x" * 1024

    async with await owner.serve(max_body_bytes=4096) as client:
        data = chunks() if is_chunked else b"x" * 65_536
        async with client.post(PATH, data=data) as response:
            assert await refused(response) == (413, "the request is larger than 4096 bytes")
        async with client.patch(PATH, data=b"x" * 5000) as response:
            assert response.status == 413


async def test_a_body_that_does_not_come(owner: Owner) -> None:
    never = asyncio.Event()

    async def chunks() -> AsyncIterator[bytes]:
        yield b"{"
        await never.wait()

    async with await owner.serve(body_timeout_s=0.05) as client, client.post(PATH, data=chunks()) as response:
        assert await refused(response) == (408, "the request did not arrive within 0.05 s")


async def test_the_owner_refuses(owner: Owner, offer: dict[str, str]) -> None:
    owner.refusals = [Refusal("all lines are busy", retry_after_s=7)]
    async with await owner.serve() as client:
        with pytest.raises(CallRefused, match="all lines are busy") as caught:
            async with Caller(url(client)):
                pass
        assert (caught.value.status, caught.value.retry_after_s) == (503, 7)
        assert not owner.calls


async def test_the_owner_refuses_when_others_came_in_meanwhile(owner: Owner, offer: dict[str, str]) -> None:
    owner.refusals = [None, Refusal("all lines are busy")]
    async with await owner.serve() as client, client.post(PATH, json=offer) as response:
        assert response.status == 503
    assert not owner.calls


async def test_more_calls_than_allowed_and_room_again_when_one_ends(owner: Owner, offer: dict[str, str]) -> None:
    async with await owner.serve(max_calls=1) as client:
        async with client.post(PATH, json=offer) as response:
            assert response.status == 200
        async with client.post(PATH, json=offer) as response:
            assert (await refused(response))[0] == 503
            assert int(response.headers["Retry-After"]) > 0
        await owner.calls[0].close()
        async with client.post(PATH, json=offer) as response:
            assert response.status == 200


async def test_a_refused_offer_takes_no_line(owner: Owner, offer: dict[str, str]) -> None:
    async with await owner.serve(max_calls=1) as client:
        for _ in range(3):
            async with client.post(PATH, json={**offer, "sdp": "nonsense"}) as response:
                assert response.status == 400
        async with client.post(PATH, json=offer) as response:
            assert response.status == 200


async def test_too_many_offers_from_one_address(owner: Owner, offer: dict[str, str]) -> None:
    async with await owner.serve(offers_per_minute=2) as client:
        statuses: list[int] = []
        for _ in range(3):
            async with client.post(PATH, json={**offer, "sdp": "nonsense"}) as response:
                statuses.append(response.status)
        assert statuses == [400, 400, 429]
        assert 0 < int(response.headers["Retry-After"]) <= 60


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


async def test_a_token_is_needed_where_a_secret_is_set(owner: Owner) -> None:
    async with await owner.serve(token_secret=SecretStr("secret"), token_lifetime_s=60) as client:
        async with client.post(PATH, data=b"{}") as response:
            assert (await refused(response))[0] == 401
        async with client.post(PATH, data=b"{}", headers={"Authorization": "Basic x"}) as response:
            assert (await refused(response))[0] == 401
        with pytest.raises(CallRefused, match="not issued for this server"):
            async with Caller(url(client), token="forged"):
                pass
        async with Caller(url(client), token=CallTokens("secret", lifetime_s=60).issue()):
            assert len(owner.calls) == 1


async def test_other_origins_are_closed_out_unless_configured(owner: Owner, offer: dict[str, str]) -> None:
    friend, stranger = {"Origin": "https://friend.example"}, {"Origin": "https://stranger.example"}
    async with await owner.serve(allowed_origins=["https://friend.example"]) as client:
        own = {"Origin": url(client).rstrip("/")}
        for method in ("OPTIONS", "POST", "PATCH"):
            async with client.request(method, PATH, data=json.dumps(offer), headers=stranger) as response:
                assert (await refused(response))[0] == 403
                assert "Access-Control-Allow-Origin" not in response.headers
        async with client.options(PATH, headers=friend) as response:
            assert response.status == 204
            assert response.headers["Access-Control-Allow-Origin"] == "https://friend.example"
            assert "POST" in response.headers["Access-Control-Allow-Methods"]
            assert "Authorization" in response.headers["Access-Control-Allow-Headers"]
        for headers in (friend, own):
            async with client.post(PATH, json=offer, headers=headers) as response:
                assert response.status == 200
        async with client.post(PATH, data=b"{", headers=friend) as response:
            assert response.status == 400
            assert response.headers["Access-Control-Allow-Origin"] == "https://friend.example"
            assert response.headers["Vary"] == "Origin"


async def test_callers_behind_a_trusted_proxy_are_counted_apart(owner: Owner) -> None:
    async def status(client: TestClient[web.Request, web.Application], address: str) -> int:
        async with client.post(PATH, data=b"{}", headers={"X-Forwarded-For": address}) as response:
            return response.status

    async with await owner.serve(offers_per_minute=1, trusted_proxies=["127.0.0.1"]) as client:
        callers = ("192.0.2.1", "192.0.2.2", "198.51.100.1, 192.0.2.2")
        assert [await status(client, caller) for caller in callers] == [400, 400, 429]
    async with await owner.serve(offers_per_minute=1) as client:
        assert [await status(client, caller) for caller in callers] == [400, 429, 429]


async def test_malformed_and_rebound_headers_are_refused_in_json(owner: Owner) -> None:
    async with await owner.serve(token_secret=SecretStr("secret")) as client:
        async with client.post(PATH, data=b"{}", headers={"Origin": "http://["}) as response:
            assert (await refused(response))[0] == 403
        async with client.post(PATH, data=b"{}", headers={"Authorization": "Bearer \udcff"}) as response:
            assert (await refused(response))[0] == 401
    rebound = {"Host": "evil.example", "Origin": "http://evil.example"}
    async with await owner.serve() as client, client.post(PATH, data=b"{}", headers=rebound) as response:
        assert (await refused(response))[0] == 403


@pytest.mark.parametrize(("was", "now"), [("m=application.*\r\n", ""), ("BUNDLE 0 1", "BUNDLE 0 0")])
async def test_an_offer_whose_bundle_is_broken_is_at_fault(
    owner: Owner, offer: dict[str, str], was: str, now: str
) -> None:
    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    peer.addTransceiver("audio")
    peer.createDataChannel("chat")
    await peer.setLocalDescription(await peer.createOffer())
    sdp = re.sub(was, now, peer.localDescription.sdp)
    await peer.close()
    async with await owner.serve() as client, client.post(PATH, json={**offer, "sdp": sdp}) as response:
        assert (await refused(response))[0] == 400
