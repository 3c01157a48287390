"""What a recording of the far end says: onsets, cuts, ducked packets, lateness, lost and repeated samples.

Plain functions on sample-aligned recordings; nothing here knows of networks. Times are CLOCK_MONOTONIC seconds. A
sample is heard when the packet that carries it has arrived, plus its place in that packet: a listener without any
buffer, so figures do not depend on a receiver's jitter buffer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE_HZ = 48_000
AUDIBLE_DBFS = -40.0  # a sample below this counts as silence
PAUSE_DBFS = -60.0  # inside speech, ducked or not: below its quietest consonants, above Opus' rendering of zeros
PAUSE_S = 0.04  # shorter silences are part of a word
CUT_SILENCE_S = 0.2  # silence that long where the undisturbed speech goes on is a cut, and no stumble
SPLICE_EDGE = SAMPLE_RATE_HZ // 500  # 2 ms: where a threshold is crossed; less is no speech lost or repeated
PAUSE_EDGES = SAMPLE_RATE_HZ // 80  # 12.5 ms: Opus rings that long around both ends of a pause that was put in
GOES_ON_WITHIN_S = 3.0  # of where it was cut; speech further away was begun anew
GOES_ON_SHARE = 0.3  # of what is audible; a stuttering sender is recognised in part, other speech hardly at all
DUCKED_DB = -10.0  # a packet this far below the undisturbed speech is ducked
LATE_S = 0.060
SCHEDULE_MEMORY_S = 5.0

# Tracking one recording along another: windows of this length and spacing, each matched within the reach.
WINDOW_SAMPLES = SAMPLE_RATE_HZ // 4
HOP_SAMPLES = SAMPLE_RATE_HZ // 10
REACH_SAMPLES = SAMPLE_RATE_HZ // 2
LOST_AFTER = 4  # windows that match nothing within the reach: longer than any splice, so look everywhere
SAME_SPEECH = 0.8  # normalised correlation from which two windows are the same speech; unrelated speech stays under 0.5


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
class Silence:
    """A stretch without audible samples, [start, end) in samples."""

    start: int
    end: int

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return (self.end - self.start) / SAMPLE_RATE_HZ


def silences(samples: NDArray[np.float32], at_least_s: float, below_dbfs: float = AUDIBLE_DBFS) -> list[Silence]:
    """Every stretch of silence of at least `at_least_s`, the ones at both ends included."""
    audible = _audible(samples, below_dbfs)
    edges = np.concatenate(([-1], audible, [len(samples)]))
    lengths = np.diff(edges) - 1
    wanted = np.flatnonzero(lengths >= max(1, round(at_least_s * SAMPLE_RATE_HZ)))
    return [Silence(int(edges[i]) + 1, int(edges[i]) + 1 + int(lengths[i])) for i in wanted]


def lateness_s(recording: Recording) -> NDArray[np.float64]:
    """How far behind the sender's schedule each packet came, [P]; never negative.

    The schedule is that of the least delayed packet of the last SCHEDULE_MEMORY_S: a sender that loses time once and
    goes on from there is late for that long, as a receiver's jitter buffer takes a while to follow.
    """
    delays = recording.arrivals_s - recording.packet_starts / SAMPLE_RATE_HZ
    memory = round(SCHEDULE_MEMORY_S * SAMPLE_RATE_HZ)
    oldest = np.searchsorted(recording.packet_starts, recording.packet_starts - memory)
    return np.array([delays[i] - delays[oldest[i] : i + 1].min() for i in range(len(delays))])


@dataclass(frozen=True, slots=True)
class Match:
    """A window of a recording found in a reference."""

    index: int  # the window's first sample in the recording
    lag: int  # reference position minus recording position
    correlation: float


def find(window: NDArray[np.float32], reference: NDArray[np.float32]) -> tuple[int, float]:
    """Where `window` lies in `reference` and how well it fits: position and normalised correlation in [-1, 1]."""
    if len(window) > len(reference):
        raise ValueError(f"the window ({len(window)} samples) must not be longer than the reference ({len(reference)})")
    size = 1 << (len(reference) + len(window) - 1).bit_length()
    product = np.fft.irfft(np.fft.rfft(reference, size) * np.conj(np.fft.rfft(window, size)), size)
    products = product[: len(reference) - len(window) + 1]
    energy = np.concatenate(([0.0], np.cumsum(reference.astype(np.float64) ** 2)))
    energies = np.maximum(energy[len(window) :] - energy[: -len(window)], 0.0)
    own = float(np.sum(window.astype(np.float64) ** 2))
    scores = products / np.sqrt(np.maximum(energies * own, 1e-9))
    best = int(np.argmax(scores))
    return best, float(scores[best])


def track(samples: NDArray[np.float32], reference: NDArray[np.float32], first_lag: int) -> list[Match]:
    """Follow `samples` along `reference`, window by window, from a known lag on.

    Silent windows and windows that straddle a splice match nothing and are left out.
    """
    matches: list[Match] = []
    lag, misses = first_lag, 0
    for index in range(0, len(samples) - WINDOW_SAMPLES + 1, HOP_SAMPLES):
        window = samples[index : index + WINDOW_SAMPLES]
        reach = REACH_SAMPLES if misses < LOST_AFTER else len(reference)
        low = max(0, index + lag - reach)
        stretch = reference[low : max(low, index + lag + WINDOW_SAMPLES + reach)]
        if len(stretch) < WINDOW_SAMPLES or _rms_db(window) < AUDIBLE_DBFS:
            continue
        position, correlation = find(window, stretch)
        if correlation >= SAME_SPEECH:
            lag, misses = low + position - index, 0
            matches.append(Match(index, lag, correlation))
        else:
            misses += 1
    return matches


@dataclass(frozen=True, slots=True)
class Cut:
    """Where the agent fell silent in mid-speech."""

    index: int  # one past the last audible sample
    packet_s: float  # arrival of the packet that carries it
    silence_s: float  # until the agent's next audible sample, or the end of the recording


def cut_after(
    recording: Recording, reference: NDArray[np.float32], matches: Sequence[Match], after_s: float
) -> Cut | None:
    """The first silence from `after_s` on that the undisturbed speech does not have there; None if there is none.

    Args:
        recording: what was heard.
        reference: the same speech, never interrupted.
        matches: of `recording` in `reference`.
        after_s: when the caller began to speak.
    """
    start = recording.index_at(after_s)
    for silence in silences(recording.samples[start:], CUT_SILENCE_S):
        index, end = start + silence.start, start + silence.end
        lags = [match.lag for match in matches if match.index + WINDOW_SAMPLES // 2 <= index]
        if not lags:
            continue
        missing = reference[max(0, index + lags[-1]) : max(0, end + lags[-1])]
        if _without_pauses(missing, AUDIBLE_DBFS) >= CUT_SILENCE_S * SAMPLE_RATE_HZ / 2:
            packet = max(0, int(np.searchsorted(recording.packet_starts, index - 1, side="right")) - 1)
            return Cut(index, float(recording.arrivals_s[packet]), silence.duration_s)
    return None


@dataclass(frozen=True, slots=True)
class Continuity:
    """How a recording deviates from the same speech spoken without disturbance."""

    matched_s: float  # how much of the recording was recognised in the reference
    unmatched_s: float  # audible and not recognised: other speech, or too broken to tell
    lost_ms: float  # speech of the reference that is missing
    repeated_ms: float  # speech that came twice
    paused_ms: float  # silence put in; nothing lost or repeated


def continuity(samples: NDArray[np.float32], reference: NDArray[np.float32], matches: Sequence[Match]) -> Continuity:
    """Account for every change of lag along `matches`.

    The lag grows by what was skipped in the reference and shrinks by what was put into the recording. Silence on the
    side that is longer is a pause that changed; anything audible there is speech lost or repeated.
    """
    lost = repeated = paused = 0
    for before, after in pairwise(matches):
        change = after.lag - before.lag
        if change == 0:
            continue
        heard = samples[before.index : after.index + WINDOW_SAMPLES]
        spoken = reference[before.index + before.lag : after.index + after.lag + WINDOW_SAMPLES]
        # With all silence taken out, what is left differs by exactly the speech that was lost or repeated.
        audible_change = _without_pauses(spoken) - _without_pauses(heard)
        audible = int(np.clip(abs(audible_change), 0, abs(change)))
        if audible < (PAUSE_EDGES if audible < abs(change) else SPLICE_EDGE):
            audible = 0
        if change > 0:
            lost += audible
        else:
            repeated += audible
        paused += max(0, -change - audible)
    covered, audible = _coverage(samples, matches)
    per_ms = SAMPLE_RATE_HZ / 1000
    return Continuity(
        matched_s=float(covered.sum()) / SAMPLE_RATE_HZ,
        unmatched_s=float((audible & ~covered).sum()) / SAMPLE_RATE_HZ,
        lost_ms=lost / per_ms,
        repeated_ms=repeated / per_ms,
        paused_ms=paused / per_ms,
    )


def goes_on(samples: NDArray[np.float32], matches: Sequence[Match], from_index: int) -> bool:
    """Whether what is audible from `from_index` on is the speech that was matched, about where it was left."""
    before = [match for match in matches if match.index < from_index]
    after = [match for match in matches if match.index >= from_index]
    if not before or not after:
        return False
    skipped = after[0].index + after[0].lag - (from_index + before[-1].lag)
    covered, audible = _coverage(samples, after)
    share = float(np.mean(covered[from_index:][audible[from_index:]]))
    return abs(skipped) <= GOES_ON_WITHIN_S * SAMPLE_RATE_HZ and share >= GOES_ON_SHARE


def first_ducked_s(
    recording: Recording, reference: NDArray[np.float32], lag: int, after_s: float, until: int
) -> float | None:
    """Arrival of the first packet from `after_s` on that is DUCKED_DB below the same speech undisturbed.

    Args:
        recording: what was heard.
        reference: the same speech, never interrupted.
        lag: reference position minus recording position before `after_s`.
        after_s: when the caller began to speak.
        until: sample at which to give up, e.g. where the agent was cut.
    """
    first = int(np.searchsorted(recording.arrivals_s, after_s))
    for packet in range(first, len(recording.packet_starts)):
        start, end = int(recording.packet_starts[packet]), recording.packet_end(packet)
        if start >= until:
            return None
        spoken = reference[start + lag : end + lag]
        if len(spoken) < end - start or _rms_db(spoken) < AUDIBLE_DBFS:
            continue
        heard = recording.samples[start:end]
        if _rms_db(heard) - _rms_db(spoken) > DUCKED_DB:
            continue
        # The same speech, only quieter; or nothing any more. Anything else has lost its place and tells nothing.
        if _rms_db(heard) < PAUSE_DBFS or find(heard, spoken)[1] >= SAME_SPEECH:
            return float(recording.arrivals_s[packet])
    return None


def speech_continues(samples: NDArray[np.float32], reference: NDArray[np.float32], from_index: int) -> bool:
    """Whether speech that `reference` holds in the second after `from_index` turns up in `samples`."""
    for start in range(from_index, from_index + SAMPLE_RATE_HZ, HOP_SAMPLES):
        window = reference[start : start + HOP_SAMPLES]  # 100 ms
        if len(window) < HOP_SAMPLES or _rms_db(window) < AUDIBLE_DBFS + 6 or len(window) > len(samples):
            continue
        if find(window, samples)[1] >= 0.95:  # short windows of a voice resemble one another
            return True
    return False


def _coverage(samples: NDArray[np.float32], matches: Sequence[Match]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which samples were matched, and which belong to no pause; [S] each."""
    covered = np.zeros(len(samples), dtype=bool)
    for match in matches:
        covered[match.index : match.index + WINDOW_SAMPLES] = True
    audible = np.ones(len(samples), dtype=bool)
    for pause in silences(samples, PAUSE_S):
        audible[pause.start : pause.end] = False
    return covered, audible


def _rms_db(samples: NDArray[np.float32]) -> float:
    mean_square = float(np.mean(samples.astype(np.float64) ** 2)) if len(samples) else 0.0
    return 10 * float(np.log10(max(mean_square, 1e-12)))


def _without_pauses(samples: NDArray[np.float32], below_dbfs: float = PAUSE_DBFS) -> int:
    """Number of samples outside pauses."""
    return len(samples) - sum(s.end - s.start for s in silences(samples, PAUSE_S, below_dbfs))


def _audible(samples: NDArray[np.float32], from_dbfs: float = AUDIBLE_DBFS) -> NDArray[np.int64]:
    return np.flatnonzero(np.abs(samples) >= 10 ** (from_dbfs / 20))
