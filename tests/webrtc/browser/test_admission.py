"""Who may call over real HTTP: limits, tokens, origins, proxies, and each refusal in its own words."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient
from pydantic import SecretStr

from benchmarks.far_end.caller import Caller, CallRefused
from tests.fakes.owner import Owner, refused, url
from webrtc.browser.signalling import PATH, Refusal
from webrtc.http.tokens import CallTokens

pytestmark = pytest.mark.usefixtures("nothing_left")


async def test_a_giant_body(owner: Owner) -> None:
    async with await owner.serve(max_body_bytes=4096) as client:
        for method in ("POST", "PATCH"):
            async with client.request(method, PATH, data=b"x" * 65_536) as response:
                assert await refused(response) == (413, "the request is larger than 4096 bytes")


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
        for _ in range(2):
            async with client.post(PATH, json={**offer, "sdp": "nonsense"}) as response:
                assert response.status == 400
        async with client.post(PATH, json=offer) as response:
            assert response.status == 429
            assert 0 < int(response.headers["Retry-After"]) <= 60


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
