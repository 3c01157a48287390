"""What a recording of the far end says by itself: onsets, silences and late packets.

Plain functions on sample-aligned recordings; nothing here knows of networks. Times are CLOCK_MONOTONIC seconds. A
sample is heard when the packet that carries it has arrived, plus its place in that packet: a listener without any
buffer, so figures do not depend on a receiver's jitter buffer.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE_HZ = 48_000
AUDIBLE_DBFS = -40.0  # a sample below this counts as silence
PAUSE_DBFS = -60.0  # inside speech, ducked or not: below its quietest consonants, above Opus' rendering of zeros
PAUSE_S = 0.04  # shorter silences are part of a word
LATE_S = 0.060
SCHEDULE_MEMORY_S = 5.0


@dataclass(frozen=True, slots=True)
class Recording:
    """What a peer heard, laid out on the sender's RTP clock."""

    samples: NDArray[np.float32]  # [S] 48 kHz mono; zeros where a packet is missing
    packet_starts: NDArray[np.int64]  # [P] index of each packet's first sample, ascending
    arrivals_s: NDArray[np.float64]  # [P] when each packet arrived

    def time_of(self, index: int) -> float:
        """When the sample at `index` was heard."""
        packet = max(0, int(np.searchsorted(self.packet_starts, index, side="right")) - 1)
        return float(self.arrivals_s[packet] + (index - self.packet_starts[packet]) / SAMPLE_RATE_HZ)

    def index_at(self, time_s: float) -> int:
        """The first sample of the first packet that arrived at or after `time_s`; the end if none did."""
        late = np.flatnonzero(self.arrivals_s >= time_s)
        return int(self.packet_starts[late[0]]) if late.size else len(self.samples)

    def since(self, index: int) -> "Recording":
        """The recording from the sample at `index` on."""
        first = max(0, int(np.searchsorted(self.packet_starts, index, side="right")) - 1)
        starts = np.maximum(self.packet_starts[first:] - index, 0)
        return Recording(self.samples[index:], starts, self.arrivals_s[first:])

    def between(self, from_s: float, until_s: float) -> "Recording":
        """What arrived from `from_s` on and before `until_s`.

        Raises:
            ValueError: nothing arrived in that time.
        """
        wanted = np.flatnonzero((self.arrivals_s >= from_s) & (self.arrivals_s < until_s))
        if not wanted.size:
            raise ValueError(f"no packet arrived in {until_s - from_s:.1f} s")
        first, end = int(wanted[0]), int(wanted[-1]) + 1
        start = int(self.packet_starts[first])
        samples = self.samples[start : self.packet_end(end - 1)]
        return Recording(samples, self.packet_starts[first:end] - start, self.arrivals_s[first:end])

    def packet_end(self, packet: int) -> int:
        """One past the last sample of a packet."""
        return int(self.packet_starts[packet + 1]) if packet + 1 < len(self.packet_starts) else len(self.samples)


def first_audible(samples: NDArray[np.float32]) -> int | None:
    """Index of the first audible sample, or None."""
    audible = _audible(samples)
    return int(audible[0]) if audible.size else None


def last_audible(samples: NDArray[np.float32]) -> int | None:
    """Index of the last audible sample, or None."""
    audible = _audible(samples)
    return int(audible[-1]) if audible.size else None


def onset_s(recording: Recording, after_s: float) -> float | None:
    """When the first audible sample that arrived at or after `after_s` was heard, or None if all was silent."""
    start = recording.index_at(after_s)
    offset = first_audible(recording.samples[start:])
    return None if offset is None else recording.time_of(start + offset)


@dataclass(frozen=True, slots=True)
class SilentStretch:
    """A stretch without audible samples, [start, end) in samples."""

    start: int
    end: int

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return (self.end - self.start) / SAMPLE_RATE_HZ


def silences(samples: NDArray[np.float32], at_least_s: float, below_dbfs: float = AUDIBLE_DBFS) -> list[SilentStretch]:
    """Every stretch of silence of at least `at_least_s`, the ones at both ends included."""
    audible = _audible(samples, below_dbfs)
    edges = np.concatenate(([-1], audible, [len(samples)]))
    lengths = np.diff(edges) - 1
    wanted = np.flatnonzero(lengths >= max(1, round(at_least_s * SAMPLE_RATE_HZ)))
    return [SilentStretch(int(edges[i]) + 1, int(edges[i]) + 1 + int(lengths[i])) for i in wanted]


def lateness_s(recording: Recording) -> NDArray[np.float64]:
    """How far behind the sender's schedule each packet came, [P]; never negative.

    The schedule is that of the least delayed packet of the last SCHEDULE_MEMORY_S: a sender that loses time once and
    goes on from there is late for that long, as a receiver's jitter buffer takes a while to follow.
    """
    delays = recording.arrivals_s - recording.packet_starts / SAMPLE_RATE_HZ
    memory = round(SCHEDULE_MEMORY_S * SAMPLE_RATE_HZ)
    oldest = np.searchsorted(recording.packet_starts, recording.packet_starts - memory)
    return np.array([delays[i] - delays[oldest[i] : i + 1].min() for i in range(len(delays))])


def rms_db(samples: NDArray[np.float32]) -> float:
    """Mean power in dB of full scale; -120 of nothing."""
    mean_square = float(np.mean(samples.astype(np.float64) ** 2)) if len(samples) else 0.0
    return 10 * float(np.log10(max(mean_square, 1e-12)))


def without_pauses(samples: NDArray[np.float32], below_dbfs: float = PAUSE_DBFS) -> int:
    """Number of samples outside pauses."""
    return len(samples) - sum(s.end - s.start for s in silences(samples, PAUSE_S, below_dbfs))


def _audible(samples: NDArray[np.float32], from_dbfs: float = AUDIBLE_DBFS) -> NDArray[np.int64]:
    return np.flatnonzero(np.abs(samples) >= 10 ** (from_dbfs / 20))
