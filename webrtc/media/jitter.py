"""The order and the time of received packets: what to play next, and when to stop waiting for it.

Pure and clocked from outside. Packets in order leave at once, so the buffer adds no delay to a good network. After
a gap the packets behind it wait for a short adaptive while; then the gap is concealed, and nothing of that wait
remains. Times are seconds of any monotonic clock; media time is in ticks of the stream's RTP clock.
"""

from collections import OrderedDict
from dataclasses import dataclass

from webrtc.config import JitterConfig

STALL_STEP_MS = 20  # what one step of concealment adds while the network is quiet

# RFC 3550, appendix A.1: a jump beyond these is another stream, believed when a second packet continues it.
MAX_DROPOUT = 3000
MAX_MISORDER = 100

MAX_WAITING = 64  # packets behind a gap; more than any hold lets gather
LATENESS_MARGIN = 1.5  # how much longer than the worst lateness seen to wait
HOLD_DECAY = 1 / 500  # share of the excess hold given up per packet: a time constant of 10 s


@dataclass(frozen=True, slots=True)
class Packet:
    """One RTP packet of audio."""

    sequence_number: int  # 16 bits
    timestamp: int  # 32 bits, ticks
    duration_ticks: int  # 0 where the packet carries no audio
    payload: bytes


@dataclass(frozen=True, slots=True)
class Gap:
    """Media time for which there is no packet."""

    duration_ticks: int


@dataclass(slots=True)
class JitterStats:
    """Counts since the call began, in packets except where named."""

    received: int = 0
    reordered: int = 0  # overtaken by another, but in time
    late: int = 0  # came after their gap was concealed
    lost: int = 0  # given up, whether or not they came late
    duplicates: int = 0
    restarts: int = 0  # the far end began another sequence
    stalled_ms: int = 0  # concealed because nothing came at all


class JitterBuffer:
    """Puts packets in order and says when to conceal.

    Time concealed while the network was quiet is remembered, and taken off the next hole in the far end's
    timestamps: a pause of its sender (DTX) is filled exactly, and packets that were only held up are all played.
    """

    def __init__(self, config: JitterConfig, *, clock_hz: int) -> None:
        """`clock_hz`: of the stream's RTP timestamps."""
        self.stats = JitterStats()
        self._config = config
        self._stall_step_ticks = STALL_STEP_MS * clock_hz // 1000
        self._max_fill_ticks = round(config.max_fill_ms * clock_hz / 1000)
        self._hold_s = config.min_hold_ms / 1000
        self._waiting: dict[int, tuple[Packet, float]] = {}  # extended sequence number -> packet, arrival
        self._given_up: OrderedDict[int, float] = OrderedDict()  # extended sequence number -> when it was missed
        self._next_sequence: int | None = None  # extended beyond 16 bits
        self._next_timestamp: int | None = None
        self._next_of_restart: int | None = None
        self._stall_debt_ticks = 0
        self._stall_at_s: float | None = None

    @property
    def hold_ms(self) -> float:
        """How long a gap is waited for at present."""
        return self._hold_s * 1000

    @property
    def deadline_s(self) -> float | None:
        """When to call `expire` unless a packet comes first; None before the first packet."""
        if self._waiting:
            return min(self._gap_deadline_s(), self._stall_at_s or self._gap_deadline_s())
        return self._stall_at_s

    def push(self, packet: Packet, now_s: float) -> list[Packet | Gap]:
        """Take a packet; returns what can be played now, in order."""
        self.stats.received += 1
        self._stall_at_s = now_s + self._config.stall_ms / 1000
        if self._next_sequence is None:
            self._next_sequence = packet.sequence_number
        ahead = _to_signed(packet.sequence_number - self._next_sequence, bits=16)
        if not -MAX_MISORDER <= ahead <= MAX_DROPOUT:
            return self._suspect_restart(packet)
        self._next_of_restart = None
        sequence = self._next_sequence + ahead
        if ahead < 0:
            self._count_behind(sequence, now_s)
            return []
        if sequence in self._waiting:
            self.stats.duplicates += 1
            return []
        if ahead == 0 and self._waiting:
            self.stats.reordered += 1
            self._learn_lateness(now_s - self._missed_since_s())
        self._waiting[sequence] = (packet, now_s)
        return self._release(now_s)

    def expire(self, now_s: float) -> list[Packet | Gap]:
        """Conceal what has been waited for long enough; returns what can be played now, in order.

        A quiet network is concealed one step per call, with no catching up: after a stall of this process its packets
        are still in the socket.
        """
        played = self._release(now_s)
        if not played and self._stall_at_s is not None and now_s >= self._stall_at_s:
            self._stall_at_s = now_s + STALL_STEP_MS / 1000
            self._stall_debt_ticks += self._stall_step_ticks
            self.stats.stalled_ms += STALL_STEP_MS
            played.append(Gap(self._stall_step_ticks))
        return played

    def restart(self) -> None:
        """Forget the sequence so far: the next packet begins another."""
        self.stats.restarts += 1
        self._waiting.clear()
        self._given_up.clear()
        self._next_sequence = None
        self._next_timestamp = None
        self._next_of_restart = None
        self._stall_debt_ticks = 0

    def _release(self, now_s: float) -> list[Packet | Gap]:
        assert self._next_sequence is not None or not self._waiting
        played: list[Packet | Gap] = []
        while self._waiting and self._next_sequence is not None:
            entry = self._waiting.pop(self._next_sequence, None)
            if entry is not None:
                self._next_sequence += 1
                self._hold_s -= (self._hold_s - self._config.min_hold_ms / 1000) * HOLD_DECAY
                played.extend(self._in_time(entry[0]))
            elif now_s >= self._gap_deadline_s() or len(self._waiting) >= MAX_WAITING:
                self._give_up(until=min(self._waiting))
            else:
                break
        return played

    def _in_time(self, packet: Packet) -> list[Packet | Gap]:
        """The packet, after the gap in media time before it, if any."""
        if packet.duration_ticks == 0:
            return []
        missing = 0
        if self._next_timestamp is not None:
            missing = max(0, _to_signed(packet.timestamp - self._next_timestamp, bits=32))
        self._next_timestamp = packet.timestamp + packet.duration_ticks
        paid = min(missing, self._stall_debt_ticks)
        self._stall_debt_ticks -= paid
        gap_ticks = min(missing - paid, self._max_fill_ticks)
        return [Gap(gap_ticks), packet] if gap_ticks else [packet]

    def _give_up(self, *, until: int) -> None:
        assert self._next_sequence is not None
        self.stats.lost += until - self._next_sequence
        missed_s = self._missed_since_s()
        for sequence in range(max(self._next_sequence, until - MAX_MISORDER), until):
            self._given_up[sequence] = missed_s
        while len(self._given_up) > MAX_MISORDER:
            self._given_up.popitem(last=False)
        self._next_sequence = until

    def _count_behind(self, sequence: int, now_s: float) -> None:
        missed_s = self._given_up.pop(sequence, None)
        if missed_s is None:
            self.stats.duplicates += 1
        else:
            self.stats.late += 1
            self._learn_lateness(now_s - missed_s)

    def _learn_lateness(self, lateness_s: float) -> None:
        wanted_s = min(lateness_s * LATENESS_MARGIN, self._config.max_hold_ms / 1000)
        self._hold_s = max(self._hold_s, wanted_s)

    def _suspect_restart(self, packet: Packet) -> list[Packet | Gap]:
        if packet.sequence_number != self._next_of_restart:
            self._next_of_restart = (packet.sequence_number + 1) % (1 << 16)
            return []
        self.restart()
        self._next_sequence = packet.sequence_number + 1
        return self._in_time(packet)

    def _missed_since_s(self) -> float:
        return min(arrival_s for _, arrival_s in self._waiting.values())

    def _gap_deadline_s(self) -> float:
        return self._missed_since_s() + self._hold_s


def _to_signed(difference: int, *, bits: int) -> int:
    """A difference of two counters that wrap at `bits` bits, as the nearest signed number."""
    half = 1 << (bits - 1)
    return (difference + half) % (1 << bits) - half
