"""Calls on a machine whose only network is its loopback interface."""

from collections.abc import Callable
from dataclasses import dataclass

import aioice.ice

LOOPBACK_ADDRESS = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class _WithLoopback:
    find_addresses: Callable[[bool, bool], list[str]]

    def __call__(self, use_ipv4: bool, use_ipv6: bool) -> list[str]:
        addresses = self.find_addresses(use_ipv4, use_ipv6)
        return [LOOPBACK_ADDRESS, *addresses] if use_ipv4 else addresses


def offer_loopback() -> None:
    """Let every ICE agent of this process offer 127.0.0.1 beside the machine's other addresses; twice is harmless.

    aioice leaves the loopback interface out, and has no option for it: without a candidate a call never connects,
    without any error.
    """
    if not isinstance(aioice.ice.get_host_addresses, _WithLoopback):
        aioice.ice.get_host_addresses = _WithLoopback(aioice.ice.get_host_addresses)
