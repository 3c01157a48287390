"""127.0.0.1 among the addresses that a call offers."""

import aioice.ice
import pytest

from webrtc.peer.loopback import LOOPBACK_ADDRESS, offer_loopback


@pytest.fixture(autouse=True)
def unpatched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aioice.ice, "get_host_addresses", lambda use_ipv4, use_ipv6: ["192.0.2.1"] if use_ipv4 else [])


def test_it_comes_first_and_once_however_often_asked_for() -> None:
    offer_loopback()
    offer_loopback()
    assert aioice.ice.get_host_addresses(use_ipv4=True, use_ipv6=True) == [LOOPBACK_ADDRESS, "192.0.2.1"]


def test_not_without_ipv4() -> None:
    offer_loopback()
    assert aioice.ice.get_host_addresses(use_ipv4=False, use_ipv6=True) == []
