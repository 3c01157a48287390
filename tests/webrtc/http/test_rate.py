"""Requests per address and minute, on a clock of the test's own."""

import pytest

from webrtc.http import rate as request_rate
from webrtc.http.rate import RequestRate


def test_so_many_a_minute_and_again_when_the_oldest_is_past() -> None:
    rate = RequestRate(3)
    assert [rate.take("192.0.2.1", t) for t in (0.0, 10.0, 20.0)] == [0, 0, 0]
    assert rate.take("192.0.2.1", 30.0) == 30.0
    assert rate.take("192.0.2.1", 60.0) == 0
    assert rate.take("192.0.2.1", 61.0) == 9.0


def test_addresses_do_not_share() -> None:
    rate = RequestRate(1)
    assert rate.take("192.0.2.1", 0.0) == 0
    assert rate.take("192.0.2.2", 0.0) == 0
    assert rate.take("192.0.2.1", 0.0) > 0


def test_an_ipv6_network_shares() -> None:
    rate = RequestRate(1)
    assert rate.take("2001:db8:0:1::1", 0.0) == 0
    assert rate.take("2001:db8:0:1:ffff::2", 0.0) > 0
    assert rate.take("2001:db8:0:2::1", 0.0) == 0


def test_odd_addresses_are_counted_too() -> None:
    for address in [None, "", "localhost", "fe80::1%eth0"]:
        rate = RequestRate(1)
        assert rate.take(address, 0.0) == 0
        assert rate.take(address, 0.0) > 0


def test_the_number_of_remembered_addresses_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_rate, "MAX_ADDRESSES", 10)
    rate = RequestRate(1)
    for n in range(11):
        rate.take(f"192.0.2.{n}", 0.0)
    assert rate.take("192.0.2.10", 0.0) > 0
    assert rate.take("192.0.2.0", 0.0) == 0  # forgotten
