"""Whose pages may ask: our own and those of the configured origins (WHATWG Fetch, Origin header)."""

from collections.abc import Iterable
from ipaddress import ip_address
from typing import cast
from urllib.parse import SplitResult, urlsplit

from aiohttp import web

from webrtc.http.errors import OriginRefused
from webrtc.http.proxies import TrustedProxies

_DEFAULT_PORTS = {"http": 80, "https": 443}


class Origins:
    """Our own origin is the one that the request itself names, unless that name may be somebody else's."""

    def __init__(
        self, allowed: Iterable[str], proxies: TrustedProxies, *, are_names_checked: bool, advice: str
    ) -> None:
        """Know whose pages may ask.

        Args:
            allowed: origins beside our own.
            proxies: whose word on our own name counts.
            are_names_checked: refuse names that may be rebound; not needed where each request shows a token.
            advice: what the owner of the server may do about a refusal.
        """
        self._allowed = frozenset(allowed)
        self._names = {name for origin in self._allowed if (name := _split(origin).hostname)} | {"localhost"}
        self._proxies = proxies
        self._are_names_checked = are_names_checked
        self._advice = advice

    def check(self, request: web.Request) -> str | None:
        """The configured origin that the request comes from; None if it comes from our own page or from no page.

        Raises:
            OriginRefused: another page.
        """
        if self._are_names_checked:
            self._check_name(request)
        origin = request.headers.get("Origin")
        if origin is None or self._is_own(origin, request):
            return None
        if origin not in self._allowed:
            raise OriginRefused(f"pages of other origins are not served here: {self._advice}")
        return origin

    def _is_own(self, origin: str, request: web.Request) -> bool:
        page = _split(origin)
        # A proxy that is not configured may speak HTTPS in our place: then the page alone knows the scheme.
        ours = _split(f"{self._proxies.scheme(request) or page.scheme}://{self._proxies.host(request)}")
        return page.hostname is not None and _parts(page) == _parts(ours)

    def _check_name(self, request: web.Request) -> None:
        """Refuse names that anybody may have pointed at this machine (DNS rebinding).

        A page of such a name is of our own origin to the browser, and reaches a server that listens for this
        machine only. Addresses cannot be rebound.
        """
        host = request.headers.get("Host", "")
        name = _split(f"//{host}").hostname
        if not host or name in self._names or _is_address(name) or not _came_by_loopback(request):
            return
        if not self._proxies.sent(request):
            raise OriginRefused(f"this machine is not known as {host[:100]!r}: open it as localhost, or {self._advice}")


def _split(url: str) -> SplitResult:
    """Parts of a URL; none of what is not one."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # read late by urllib, and refused then
    except ValueError:
        return urlsplit("")
    return parts


def _parts(url: SplitResult) -> tuple[str, str | None, int | None]:
    return url.scheme, url.hostname, url.port or _DEFAULT_PORTS.get(url.scheme)


def _is_address(name: str | None) -> bool:
    try:
        ip_address(name or "")
    except ValueError:
        return False
    return True


def _came_by_loopback(request: web.Request) -> bool:
    local = request.get_extra_info("sockname")
    if not isinstance(local, tuple):
        return False  # a Unix socket's name is a path
    address, *_ = cast(tuple[object, ...], local)
    return ip_address(str(address).partition("%")[0]).is_loopback
