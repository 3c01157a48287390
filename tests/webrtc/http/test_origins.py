"""Whose pages may call, on requests of the test's own: names that are ours, rebound or a proxy's."""

from ipaddress import ip_network
from typing import Any

import pytest
from aiohttp.test_utils import make_mocked_request

from webrtc.http.errors import OriginRefused
from webrtc.http.origins import Origins
from webrtc.http.proxies import TrustedProxies


class Transport:
    """A connection from `peer` to `local`."""

    def __init__(self, peer: str, local: str) -> None:
        self._info = {"peername": (peer, 40_000), "sockname": (local, 7860)}

    def get_extra_info(self, name: str, default: object = None) -> object:
        return self._info.get(name, default)


def request(headers: dict[str, str], *, peer: str = "127.0.0.1", local: str = "127.0.0.1") -> Any:
    return make_mocked_request("POST", "/api/offer", headers=headers, transport=Transport(peer, local))


def origins(*allowed: str, trusted: str | None = None, are_names_checked: bool = True) -> Origins:
    proxies = TrustedProxies([ip_network(trusted)] if trusted else [])
    return Origins(allowed, proxies, are_names_checked=are_names_checked, advice="set allowed_origins")


def test_our_own_page_by_names_that_cannot_be_rebound() -> None:
    for host in ["localhost:7860", "LOCALHOST", "127.0.0.1:7860", "[::1]:7860", "192.168.1.5:7860"]:
        assert origins().check(request({"Host": host, "Origin": f"http://{host}"})) is None


def test_a_name_pointed_at_this_machine_is_refused_with_and_without_origin() -> None:
    for host in ["evil.example:7860", "evil.example", "[", "localhost.evil.example", "a b"]:
        for headers in ({"Host": host, "Origin": f"http://{host}"}, {"Host": host}):
            with pytest.raises(OriginRefused, match="open it as localhost"):
                origins().check(request(headers))


def test_a_name_is_ours_where_it_is_configured_or_calls_need_a_token() -> None:
    own = {"Host": "voice.example", "Origin": "https://voice.example"}
    assert origins("https://voice.example").check(request(own)) is None
    assert origins(are_names_checked=False).check(request(own)) is None


def test_a_name_on_the_network_is_ours() -> None:
    own = {"Host": "box.lan:7860", "Origin": "http://box.lan:7860"}
    assert origins().check(request(own, peer="192.168.1.9", local="192.168.1.5")) is None


def test_other_and_malformed_origins() -> None:
    for origin in ["http://[", "null", "", "http://localhost:x", "http://", "https://stranger.example"]:
        with pytest.raises(OriginRefused, match=r"other origins .*: set allowed_origins"):
            origins().check(request({"Host": "localhost:7860", "Origin": origin}))


def test_an_allowed_origin_is_named() -> None:
    headers = {"Host": "localhost:7860", "Origin": "https://friend.example"}
    assert origins("https://friend.example").check(request(headers)) == "https://friend.example"


FORWARDED = {
    "Host": "127.0.0.1:7860",
    "Origin": "https://voice.example",
    "X-Forwarded-Host": "voice.example:443",
    "X-Forwarded-Proto": "https",
}


def test_the_page_behind_a_trusted_proxy_is_ours() -> None:
    assert origins(trusted="127.0.0.1").check(request(FORWARDED)) is None
    kept = {"Host": "voice.example", "Origin": "https://voice.example"}
    assert origins(trusted="127.0.0.1").check(request(kept)) is None


def test_the_same_headers_of_anybody_else_count_for_nothing() -> None:
    for trusted in (None, "10.0.0.0/8"):
        with pytest.raises(OriginRefused):
            origins(trusted=trusted).check(request(FORWARDED))


def test_another_scheme_behind_a_trusted_proxy_is_another_origin() -> None:
    with pytest.raises(OriginRefused):
        origins(trusted="127.0.0.1").check(request({**FORWARDED, "Origin": "http://voice.example"}))
