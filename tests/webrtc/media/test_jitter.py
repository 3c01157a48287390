"""Order, holds, concealment and wraps of the jitter buffer, on a clock of the test's own."""

import random

import pytest

from webrtc.config import JitterConfig
from webrtc.media.jitter import Gap, JitterBuffer, Packet

PACKET_TICKS = 960
PACKET_S = 0.020


def packet(n: int, *, first_sequence: int = 0, first_timestamp: int = 0, ticks: int = PACKET_TICKS) -> Packet:
    return Packet(
        sequence_number=(first_sequence + n) % (1 << 16),
        timestamp=(first_timestamp + n * PACKET_TICKS) % (1 << 32),
        duration_ticks=ticks,
        payload=n.to_bytes(4, "big"),
    )


def played(items: list[Packet | Gap]) -> list[int | str]:
    """Packet numbers, and gaps as their length in packets, e.g. [3, "1.0", 5]."""
    return [
        f"{item.duration_ticks / PACKET_TICKS}" if isinstance(item, Gap) else int.from_bytes(item.payload, "big")
        for item in items
    ]


@pytest.fixture
def buffer() -> JitterBuffer:
    return JitterBuffer(JitterConfig(), clock_hz=48_000)


def test_packets_in_order_leave_at_once(buffer: JitterBuffer) -> None:
    for n in range(100):
        assert played(buffer.push(packet(n), n * PACKET_S)) == [n]
    assert buffer.stats.lost == buffer.stats.late == buffer.stats.stalled_ms == 0


def test_sequence_and_timestamp_wrap(buffer: JitterBuffer) -> None:
    for n in range(200):
        p = packet(n, first_sequence=65_450, first_timestamp=(1 << 32) - 90 * PACKET_TICKS)
        assert played(buffer.push(p, n * PACKET_S)) == [n]


def test_a_loss_across_the_wrap_is_one_gap(buffer: JitterBuffer) -> None:
    start = {"first_sequence": 65_534, "first_timestamp": (1 << 32) - 2 * PACKET_TICKS}
    buffer.push(packet(0, **start), 0.0)
    buffer.push(packet(1, **start), 0.02)
    assert played(buffer.push(packet(3, **start), 0.06)) == []
    assert played(buffer.expire(0.06 + 0.0101)) == ["1.0", 3]


def test_an_overtaken_packet_is_put_back_in_order(buffer: JitterBuffer) -> None:
    buffer.push(packet(0), 0.0)
    assert played(buffer.push(packet(2), 0.020)) == []
    assert played(buffer.push(packet(1), 0.024)) == [1, 2]
    assert buffer.stats.reordered == 1
    assert buffer.stats.lost == 0


def test_a_gap_is_held_for_the_hold_and_not_longer(buffer: JitterBuffer) -> None:
    buffer.push(packet(0), 0.0)
    buffer.push(packet(2), 0.040)
    assert buffer.deadline_s == pytest.approx(0.050, abs=1e-4)
    assert played(buffer.expire(0.049)) == []
    assert played(buffer.expire(0.0501)) == ["1.0", 2]


def test_one_lost_packet_adds_no_lasting_delay(buffer: JitterBuffer) -> None:
    for n in range(50):
        if n != 10:
            buffer.push(packet(n), n * PACKET_S)
    for n in range(50, 100):
        assert played(buffer.push(packet(n), n * PACKET_S)) == [n]
    assert buffer.stats.lost == 1


def test_every_tick_is_accounted_for_under_heavy_loss(buffer: JitterBuffer) -> None:
    chance = random.Random(3)
    ticks, sent = 0, 2000
    order: list[int] = []
    for n in range(sent):
        items = buffer.expire(n * PACKET_S) if (buffer.deadline_s or 1e9) <= n * PACKET_S else []
        if chance.random() > 0.2 or n in (0, sent - 1):
            items += buffer.push(packet(n), n * PACKET_S)
        ticks += sum(item.duration_ticks for item in items)
        order += [int.from_bytes(item.payload, "big") for item in items if isinstance(item, Packet)]
    items = buffer.expire(sent * PACKET_S)
    ticks += sum(item.duration_ticks for item in items)
    assert ticks == sent * PACKET_TICKS
    assert order == sorted(set(order))


def test_a_late_packet_is_dropped_and_counted_and_lengthens_the_hold(buffer: JitterBuffer) -> None:
    buffer.push(packet(0), 0.0)
    buffer.push(packet(2), 0.040)
    buffer.expire(0.055)
    assert played(buffer.push(packet(1), 0.070)) == []
    assert buffer.stats.late == 1
    assert buffer.hold_ms == pytest.approx(1.5 * 30, rel=0.01)


def test_the_hold_has_a_ceiling_and_comes_back_down(buffer: JitterBuffer) -> None:
    buffer.push(packet(0), 0.0)
    buffer.push(packet(2), 0.040)
    buffer.expire(0.060)
    buffer.push(packet(1), 0.500)
    assert buffer.hold_ms == pytest.approx(100)
    for n in range(3, 3 + 3000):
        buffer.push(packet(n), n * PACKET_S)
    assert buffer.hold_ms < 11


def test_duplicates_are_dropped_wherever_they_come(buffer: JitterBuffer) -> None:
    buffer.push(packet(0), 0.0)
    assert buffer.push(packet(0), 0.001) == []
    buffer.push(packet(2), 0.02)
    assert buffer.push(packet(2), 0.021) == []
    assert played(buffer.push(packet(1), 0.022)) == [1, 2]
    assert buffer.push(packet(1), 0.023) == []
    assert buffer.stats.duplicates == 3
    assert buffer.stats.late == 0


def test_a_long_hole_is_filled_up_to_the_bound() -> None:
    buffer = JitterBuffer(JitterConfig(max_fill_ms=200), clock_hz=48_000)
    buffer.push(packet(0), 0.0)
    buffer.push(packet(100), 2.0)
    assert played(buffer.expire(2.02)) == ["10.0", 100]


def test_too_many_waiting_packets_end_the_wait() -> None:
    buffer = JitterBuffer(JitterConfig(min_hold_ms=50), clock_hz=48_000)
    buffer.push(packet(0), 0.0)
    items = [item for n in range(2, 70) for item in buffer.push(packet(n), 0.001)]
    assert played(items)[:3] == ["1.0", 2, 3]


def test_a_quiet_network_is_concealed_in_steps_and_never_in_arrears(buffer: JitterBuffer) -> None:
    buffer.push(packet(0), 0.0)
    assert buffer.deadline_s == pytest.approx(0.1)
    assert played(buffer.expire(0.099)) == []
    assert played(buffer.expire(0.101)) == ["1.0"]
    assert played(buffer.expire(0.110)) == []
    assert played(buffer.expire(5.0)) == ["1.0"]  # this process itself had stalled
    assert buffer.deadline_s == pytest.approx(5.02)


def test_packets_that_were_only_held_up_are_all_played(buffer: JitterBuffer) -> None:
    buffer.push(packet(0), 0.0)
    concealed = [buffer.expire(0.100 + 0.020 * k) for k in range(5)]
    assert all(played(items) == ["1.0"] for items in concealed)
    burst = [item for n in range(1, 11) for item in buffer.push(packet(n), 0.200)]
    assert played(burst) == list(range(1, 11))


def test_a_pause_of_the_sender_is_filled_exactly_once(buffer: JitterBuffer) -> None:
    """With DTX the sequence goes on while the timestamp jumps: what the stall concealed is taken off the jump."""
    buffer.push(packet(0), 0.0)
    for k in range(5):
        buffer.expire(0.100 + 0.020 * k)
    after = Packet(sequence_number=1, timestamp=11 * PACKET_TICKS, duration_ticks=PACKET_TICKS, payload=bytes(4))
    assert played(buffer.push(after, 0.220)) == ["5.0", 0]


def test_another_sequence_is_believed_at_its_second_packet(buffer: JitterBuffer) -> None:
    buffer.push(packet(0), 0.0)
    assert buffer.push(packet(0, first_sequence=30_000, first_timestamp=7), 0.02) == []
    assert played(buffer.push(packet(1, first_sequence=30_000, first_timestamp=7), 0.04)) == [1]
    assert played(buffer.push(packet(2, first_sequence=30_000, first_timestamp=7), 0.06)) == [2]
    assert buffer.stats.restarts == 1


def test_a_stray_packet_does_not_disturb_the_sequence(buffer: JitterBuffer) -> None:
    buffer.push(packet(0), 0.0)
    buffer.push(packet(0, first_sequence=30_000), 0.01)
    assert played(buffer.push(packet(1), 0.02)) == [1]
    assert buffer.stats.restarts == 0


def test_a_packet_without_audio_keeps_the_sequence_and_the_time(buffer: JitterBuffer) -> None:
    buffer.push(packet(0), 0.0)
    assert buffer.push(packet(1, ticks=0), 0.02) == []
    after = Packet(sequence_number=2, timestamp=PACKET_TICKS, duration_ticks=PACKET_TICKS, payload=bytes(4))
    assert played(buffer.push(after, 0.04)) == [0]


def test_any_packet_length_is_continuous() -> None:
    for ticks in [480, 1920, 2880]:
        buffer = JitterBuffer(JitterConfig(), clock_hz=48_000)
        for n in range(20):
            p = Packet(sequence_number=n, timestamp=n * ticks, duration_ticks=ticks, payload=n.to_bytes(4, "big"))
            assert played(buffer.push(p, n * ticks / 48_000)) == [n]
