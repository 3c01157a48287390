"""What a proxy says of the caller behind it, taken from trusted proxies only: anybody can write these headers."""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from urllib.parse import urlsplit

from aiohttp import web

Address = IPv4Address | IPv6Address


class TrustedProxies:
    """Reads X-Forwarded-For, X-Forwarded-Host and X-Forwarded-Proto of requests that come from these networks."""

    def __init__(self, networks: Iterable[IPv4Network | IPv6Network]) -> None:
        self._networks = tuple(networks)

    def sent(self, request: web.Request) -> bool:
        """Whether the request comes from one of them."""
        return self._trusts(_address(request.remote or ""))

    def caller(self, request: web.Request) -> str | None:
        """Address of the caller: the last hop that is none of them, since whatever stands before it may be made up."""
        address = _address(request.remote or "")
        hops = ",".join(request.headers.getall("X-Forwarded-For", ())).split(",")
        while hops and self._trusts(address):
            hop = _address(hops.pop().strip())
            if hop is None:
                break  # the proxy did not say who called it
            address = hop
        return request.remote if address is None else str(address)

    def host(self, request: web.Request) -> str:
        """Our name and port as the caller's browser has them."""
        return self._said(request, "X-Forwarded-Host") or request.host

    def scheme(self, request: web.Request) -> str | None:
        """`http` or `https` as the caller's browser has it; None where no trusted proxy says it."""
        return self._said(request, "X-Forwarded-Proto")

    def _said(self, request: web.Request, header: str) -> str | None:
        """What the nearest proxy has set or added."""
        if not self.sent(request):
            return None
        return ",".join(request.headers.getall(header, ())).split(",")[-1].strip().lower() or None

    def _trusts(self, address: Address | None) -> bool:
        return address is not None and any(address in network for network in self._networks)


def _address(text: str) -> Address | None:
    """The address in `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1` or `[2001:db8::1]:80`."""
    try:
        if text.startswith("[") or text.count(":") == 1:
            text = urlsplit(f"//{text}").hostname or ""
        address = ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
