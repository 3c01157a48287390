"""Listening: where a server can be found, and where it cannot be."""

import socket

import pytest
from aiohttp import ClientSession, web

from webrtc.http.errors import CannotListen
from webrtc.http.server import is_loopback, serve_http, url_of


async def test_a_free_port_is_found_and_left() -> None:
    async with ClientSession() as http:
        async with serve_http(web.Application(), "127.0.0.1", 0) as url, http.get(url) as response:
            assert response.status == 404
        with pytest.raises(OSError, match="Cannot connect"):
            await http.get(url)


async def test_where_it_cannot_listen() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        for host, port in (("127.0.0.1", taken.getsockname()[1]), ("192.0.2.1", 0)):
            with pytest.raises(CannotListen, match=rf"cannot listen on {host}, port {port} \("):
                async with serve_http(web.Application(), host, port):
                    pass


def test_the_url_is_one_that_a_browser_can_open() -> None:
    urls = {
        "127.0.0.1": "http://127.0.0.1:80",
        "0.0.0.0": "http://localhost:80",
        "::": "http://localhost:80",
        "::1": "http://[::1]:80",
        "example.org": "http://example.org:80",
    }
    assert {host: url_of(host, 80) for host in urls} == urls


def test_what_only_this_machine_reaches() -> None:
    hosts = ("127.0.0.1", "127.1.2.3", "::1", "localhost", "0.0.0.0", "::", "192.0.2.1", "example.org")
    assert [is_loopback(host) for host in hosts] == [True] * 4 + [False] * 4
