"""The tool `http_get`: reads a page of a host on a list, and of no other place that the host could lead to.

Server-side request forgery is prevented in three ways: the host must be on the list, so must every redirect, and its
address must be public (checked when the connection is made, so that a name cannot resolve to another one in between).
"""

import errno
import socket
from collections.abc import Mapping
from ipaddress import ip_address

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver
from yarl import URL

from agent.tools.config import WebConfig
from agent.tools.function import Function, ToolRefusal

_DEFAULT_PORTS = {"http": 80, "https": 443}
_REDIRECTS = (301, 302, 303, 307, 308)
_HEADERS = {"User-Agent": "Parley", "Accept": "application/json, text/*;q=0.9"}
_READ_BYTES = 16_384


class AddressRefused(OSError):
    """The host's address is not public."""


class PublicResolver(AbstractResolver):
    """Resolves names as the system does, to public addresses only."""

    def __init__(self) -> None:
        self._resolver = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The host's addresses.

        Raises:
            AddressRefused: one of them is not public.
        """
        found = await self._resolver.resolve(host, port, family)
        if not all(is_public(result["host"]) for result in found):
            raise AddressRefused(errno.EACCES, f"the address of {host} is not public")
        return found

    async def close(self) -> None:
        """Nothing is kept."""
        await self._resolver.close()


def is_public(host: str) -> bool:
    """Whether a host given as an address is reachable by everyone; names are judged when they are resolved."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return True
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_global and not address.is_multicast


def web_getter(config: WebConfig) -> Function:
    """The function `http_get` for these hosts."""

    async def http_get(url: str) -> Mapping[str, object]:
        """Read a web page or an API by HTTP GET. Only some hosts are allowed.

        Args:
            url: the whole address, such as https://example.org/weather?city=Paris.
        """
        connector = aiohttp.TCPConnector(resolver=None if config.allow_private else PublicResolver())
        async with aiohttp.ClientSession(connector=connector, headers=_HEADERS) as http:
            try:
                return await _get(http, _check_url(url, config), config)
            except (aiohttp.ClientError, OSError) as error:
                raise ToolRefusal(f"cannot be read: {error}") from error

    http_get.__doc__ = f"{http_get.__doc__}".replace("Only some hosts are allowed", f"Hosts: {', '.join(config.hosts)}")
    return http_get


async def _get(http: aiohttp.ClientSession, url: URL, config: WebConfig) -> Mapping[str, object]:
    for _ in range(config.max_redirects + 1):
        async with http.get(url, allow_redirects=False) as response:
            target = response.headers.get("Location")
            if response.status not in _REDIRECTS or target is None:
                text, is_cut = await _text(response, config.max_bytes)
                return {"status": response.status, "text": text} | ({"cut": True} if is_cut else {})
            url = _check_url(str(url.join(URL(target))), config)
    raise ToolRefusal(f"more than {config.max_redirects} redirects")


async def _text(response: aiohttp.ClientResponse, max_bytes: int) -> tuple[str, bool]:
    """The text and whether it was cut; read piece by piece, so that a small body cannot unpack into a large one."""
    kind = response.content_type
    if not (kind.startswith("text/") or kind.endswith(("json", "xml"))):
        raise ToolRefusal(f"wanted text or JSON, found {kind}")
    body = bytearray()
    while len(body) <= max_bytes and (piece := await response.content.read(_READ_BYTES)):
        body += piece
    try:
        return body[:max_bytes].decode(response.charset or "utf-8", errors="replace"), len(body) > max_bytes
    except LookupError:
        raise ToolRefusal("its character encoding is unknown") from None


def _check_url(text: str, config: WebConfig) -> URL:
    """The URL, if it may be fetched.

    Raises:
        ToolRefusal: its scheme or host is not allowed; the message is for the model.
    """
    try:
        url = URL(text)
    except ValueError:
        raise ToolRefusal(f"wanted a URL, found {text}") from None
    schemes = ("https", "http") if config.allow_http else ("https",)
    if url.scheme not in schemes or not url.host:
        raise ToolRefusal(f"wanted a URL that begins with {' or '.join(schemes)}, found {text}")
    is_default = url.port == _DEFAULT_PORTS[url.scheme]
    names = {f"{url.host}:{url.port}", *((url.host,) if is_default else ())}
    if not names & {host.lower() for host in config.hosts}:
        raise ToolRefusal(f"{url.host}:{url.port} is not allowed; allowed are {', '.join(config.hosts)}")
    if not config.allow_private and not is_public(url.host):
        raise ToolRefusal(f"the address of {url.host} is not public")
    return url.with_user(None).with_fragment(None)
