"""Who called, where proxies stand between."""

from ipaddress import ip_network
from types import SimpleNamespace
from typing import cast

from aiohttp import web
from multidict import CIMultiDict

from webrtc.http.proxies import TrustedProxies


def caller(peer: str, *hops: str) -> str | None:
    request = SimpleNamespace(remote=peer, headers=CIMultiDict([("X-Forwarded-For", hop) for hop in hops]))
    proxies = TrustedProxies([ip_network("127.0.0.1"), ip_network("10.0.0.0/8"), ip_network("fd00::/8")])
    return proxies.caller(cast(web.Request, request))


def test_the_caller_is_the_last_hop_that_is_no_proxy_of_ours() -> None:
    for peer, hops, address in [
        ("127.0.0.1", [], "127.0.0.1"),
        ("127.0.0.1", ["192.0.2.7"], "192.0.2.7"),
        ("127.0.0.1", ["192.0.2.7, 10.1.1.1"], "192.0.2.7"),
        ("127.0.0.1", ["192.0.2.7", "10.1.1.1"], "192.0.2.7"),
        ("127.0.0.1", ["198.51.100.1, 192.0.2.7"], "192.0.2.7"),  # what a caller claims is not read
        ("192.0.2.9", ["198.51.100.1"], "192.0.2.9"),  # nor what anybody says who is no proxy of ours
        ("::ffff:10.0.0.1", ["::ffff:192.0.2.7"], "192.0.2.7"),
        ("fd00::1", ["[2001:db8::7]:5000"], "2001:db8::7"),
        ("10.0.0.1", ["192.0.2.7:5000"], "192.0.2.7"),
        ("10.0.0.1", ["192.0.2.7, unknown"], "10.0.0.1"),
        ("10.0.0.1", ["["], "10.0.0.1"),
        ("10.0.0.1", ["10.0.0.2, 10.0.0.3"], "10.0.0.2"),
        ("", [], ""),
    ]:
        assert caller(peer, *hops) == address
