"""How often one address may call."""

import ipaddress
from collections import OrderedDict, deque

WINDOW_S = 60.0
MAX_ADDRESSES = 10_000


class OfferRate:
    """Counts the offers of each address within the last minute; remembers a bounded number of addresses."""

    def __init__(self, offers_per_minute: int) -> None:
        self._offers_per_minute = offers_per_minute
        self._offers: OrderedDict[str, deque[float]] = OrderedDict()  # least recent address first

    def take(self, address: str | None, now_s: float) -> float:
        """Count an offer; returns 0, or in how many seconds the next one will be taken if this one is too many."""
        network = _network(address)
        offers = self._offers.setdefault(network, deque())
        self._offers.move_to_end(network)
        while len(self._offers) > MAX_ADDRESSES:
            self._offers.popitem(last=False)
        while offers and offers[0] <= now_s - WINDOW_S:
            offers.popleft()
        if len(offers) >= self._offers_per_minute:
            return offers[0] + WINDOW_S - now_s
        offers.append(now_s)
        return 0.0


def _network(address: str | None) -> str:
    """An IPv4 address, or the /64 of an IPv6 address: one subscriber has all of it."""
    try:
        parsed = ipaddress.ip_address(address or "")
    except ValueError:
        return address or "unknown"
    if parsed.version == 4:
        return str(parsed)
    return str(ipaddress.ip_network((parsed.packed[:8] + bytes(8), 64)))
