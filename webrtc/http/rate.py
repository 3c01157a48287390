"""How often one address may ask."""

import ipaddress
from collections import OrderedDict, deque

WINDOW_S = 60.0
MAX_ADDRESSES = 10_000


class RequestRate:
    """Counts the requests of each address within the last minute; remembers a bounded number of addresses."""

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._requests: OrderedDict[str, deque[float]] = OrderedDict()  # least recent address first

    def take(self, address: str | None, now_s: float) -> float:
        """Count a request; returns 0, or in how many seconds the next will be served if this one is too many."""
        network = _network(address)
        requests = self._requests.setdefault(network, deque())
        self._requests.move_to_end(network)
        while len(self._requests) > MAX_ADDRESSES:
            self._requests.popitem(last=False)
        while requests and requests[0] <= now_s - WINDOW_S:
            requests.popleft()
        if len(requests) >= self._per_minute:
            return requests[0] + WINDOW_S - now_s
        requests.append(now_s)
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
