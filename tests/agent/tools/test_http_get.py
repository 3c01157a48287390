"""Reading pages: only allowed hosts, wherever they lead, at public addresses, within a size and a time."""

import asyncio
import gzip
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

from agent.tools import http_get as web_tool
from agent.tools.config import WebConfig
from agent.tools.function import function_tool
from agent.tools.http_get import PublicResolver, is_public, web_getter
from agent.tools.threads import ToolThreads


class Site:
    """A web server on loopback and the tool that may read it."""

    def __init__(self, port: int) -> None:
        self.host = f"127.0.0.1:{port}"

    async def get(self, path: str, *, limit_s: float = 5.0, **config: object) -> Any:
        """What the tool answers for a path, or for a whole URL."""
        settings = {"hosts": [self.host], "allow_http": True, "allow_private": True, **config}
        getter = web_getter(WebConfig.model_validate(settings))
        tool = function_tool(getter, limit_s=limit_s, threads=ToolThreads())
        return json.loads(await tool.run({"url": path if "://" in path else f"http://{self.host}{path}"}))


@asynccontextmanager
async def served() -> AsyncIterator[Site]:
    async def answer(request: web.Request) -> web.StreamResponse:
        match request.path:
            case "/there":
                raise web.HTTPFound("/weather")
            case "/away":
                raise web.HTTPFound("http://localhost:1/secret")
            case "/loop":
                raise web.HTTPFound("/loop")
            case "/long":
                return web.Response(text="x" * 100_000)
            case "/bomb":
                packed = gzip.compress(bytes(50_000_000))
                return web.Response(body=packed, headers={"Content-Encoding": "gzip", "Content-Type": "text/plain"})
            case "/picture":
                return web.Response(body=b"\x89PNG", content_type="image/png")
            case "/odd":
                return web.Response(body=b"x", headers={"Content-Type": "text/plain; charset=klingon"})
            case "/slow":
                response = web.StreamResponse(headers={"Content-Type": "text/plain"})
                await response.prepare(request)
                await response.write(b"a")
                await over.wait()
                return response
            case "/weather":
                return web.json_response({"sky": "blue", "city": request.query.get("city")})
        raise web.HTTPNotFound(text="no such page")

    over = asyncio.Event()
    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield Site(runner.addresses[0][1])
    finally:
        over.set()
        await runner.cleanup()


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with served() as site:
        yield site


async def test_a_page_is_read(site: Site) -> None:
    found = await site.get("/weather?city=Paris")
    assert found["status"] == 200
    assert json.loads(found["text"]) == {"sky": "blue", "city": "Paris"}


async def test_a_redirect_on_the_list_is_followed(site: Site) -> None:
    assert (await site.get("/there"))["status"] == 200


async def test_an_error_of_the_site_is_told(site: Site) -> None:
    assert await site.get("/absent") == {"status": 404, "text": "no such page"}


async def test_what_may_not_be_read_is_told_to_the_model(site: Site) -> None:
    for path, told in (
        ("/away", "localhost:1 is not allowed"),
        ("/loop", "more than 3 redirects"),
        ("/picture", "wanted text or JSON, found image/png"),
        ("/odd", "its character encoding is unknown"),
        ("http://localhost/weather", "localhost:80 is not allowed; allowed are 127.0.0.1:"),
        ("http://127.0.0.1/weather", "127.0.0.1:80 is not allowed"),
        ("https://127.0.0.1.example.org/", "127.0.0.1.example.org:443 is not allowed"),
        ("file:///etc/passwd", "wanted a URL that begins with https or http"),
        ("ftp://127.0.0.1/", "wanted a URL that begins with https or http"),
        ("http://[::1", "wanted a URL, found http://[::1"),
    ):
        assert told in (await site.get(path))["error"]


async def test_the_host_is_the_one_that_is_asked(site: Site) -> None:
    for trick in (
        "http://{host}@localhost/",
        "http://localhost/?{host}",
        "http://localhost#@{host}/",
    ):
        assert "localhost:80 is not allowed" in (await site.get(trick.format(host=site.host)))["error"]


async def test_http_only_where_it_is_allowed(site: Site) -> None:
    assert "begins with https, found" in (await site.get("/weather", allow_http=False))["error"]


async def test_an_address_that_is_not_public_is_refused_even_on_the_list(site: Site) -> None:
    assert "the address of 127.0.0.1 is not public" in (await site.get("/weather", allow_private=False))["error"]


async def test_a_long_answer_is_cut(site: Site) -> None:
    for path in ("/long", "/bomb"):
        found = await site.get(path, max_bytes=1000)
        assert len(found["text"]) == 1000
        assert found["cut"] is True


async def test_a_slow_site_costs_no_more_than_the_limit(site: Site) -> None:
    assert await site.get("/slow", limit_s=0.2) == {"error": "http_get took too long"}


class NamesThatLead(AbstractResolver):
    """A name server in the hands of an attacker."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        address = {"cloud.example.org": "169.254.169.254", "public.example.org": "93.184.215.14"}[host]
        return [{"hostname": host, "host": address, "port": port, "family": family, "proto": 0, "flags": 0}]

    async def close(self) -> None: ...


async def test_a_name_that_leads_to_an_inner_address_is_refused(monkeypatch: pytest.MonkeyPatch, site: Site) -> None:
    monkeypatch.setattr(web_tool, "ThreadedResolver", NamesThatLead)
    found = await site.get("https://cloud.example.org/", hosts=["cloud.example.org"], allow_private=False)
    assert "the address of cloud.example.org is not public" in found["error"]
    (address,) = await PublicResolver().resolve("public.example.org", 443)
    assert address["host"] == "93.184.215.14"


def test_which_addresses_are_public() -> None:
    for host, public in (
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("::ffff:127.0.0.1", False),
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        ("example.org", True),
    ):
        assert is_public(host) is public
