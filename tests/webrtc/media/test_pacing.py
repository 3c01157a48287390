"""The schedule of packets: no drift, catching up, and restarts."""

import pytest

from webrtc.media.pacing import Pacer


@pytest.fixture
def pacer() -> Pacer:
    return Pacer(interval_s=0.020, max_late_s=0.200)


def test_the_schedule_neither_drifts_nor_gathers_lateness(pacer: Pacer) -> None:
    late_s = 0.003
    dues = [pacer.next_due_s(5.0 + n * 0.020 + late_s if n else 5.0) for n in range(1000)]
    assert dues == pytest.approx([5.0 + n * 0.020 for n in range(1000)])


def test_after_a_short_stall_packets_leave_at_once(pacer: Pacer) -> None:
    for n in range(10):
        pacer.next_due_s(n * 0.020)
    dues = [pacer.next_due_s(0.350) for _ in range(9)]
    assert dues[0] == pytest.approx(0.200)
    assert dues[-1] == pytest.approx(0.360)
    assert pacer.restarts == 0


def test_after_a_long_stall_there_is_no_burst(pacer: Pacer) -> None:
    for n in range(10):
        pacer.next_due_s(n * 0.020)
    assert pacer.next_due_s(3.0) == 3.0
    assert pacer.next_due_s(3.001) == pytest.approx(3.020)
    assert pacer.restarts == 1
