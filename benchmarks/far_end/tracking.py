"""A recording beside the same speech undisturbed: what was cut, ducked, lost, repeated or put in."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from benchmarks.far_end.waveform import (
    AUDIBLE_DBFS,
    PAUSE_DBFS,
    PAUSE_S,
    SAMPLE_RATE_HZ,
    Recording,
    rms_db,
    silences,
    without_pauses,
)

CUT_SILENCE_S = 0.2  # silence that long where the undisturbed speech goes on is a cut, and no stumble
SPLICE_EDGE = SAMPLE_RATE_HZ // 500  # 2 ms: where a threshold is crossed; less is no speech lost or repeated
PAUSE_EDGES = SAMPLE_RATE_HZ // 80  # 12.5 ms: Opus rings that long around both ends of a pause that was put in
GOES_ON_WITHIN_S = 3.0  # of where it was cut; speech further away was begun again
GOES_ON_SHARE = 0.3  # of what is audible; a stuttering sender is recognized in part, other speech hardly at all
DUCKED_DB = -10.0  # a packet this far below the undisturbed speech is ducked

# Tracking one recording along another: windows of this length and spacing, each matched within the reach.
WINDOW_SAMPLES = SAMPLE_RATE_HZ // 4
HOP_SAMPLES = SAMPLE_RATE_HZ // 10
REACH_SAMPLES = SAMPLE_RATE_HZ // 2
LOST_AFTER = 4  # windows that match nothing within the reach: longer than any splice, so look everywhere
SAME_SPEECH = 0.8  # normalized correlation from which two windows are the same speech; unrelated speech stays under 0.5


@dataclass(frozen=True, slots=True)
class Match:
    """A window of a recording found in a reference."""

    index: int  # the window's first sample in the recording
    lag: int  # reference position minus recording position
    correlation: float


def find(window: NDArray[np.float32], reference: NDArray[np.float32]) -> tuple[int, float]:
    """Where `window` lies in `reference` and how well it fits: position and normalized correlation in [-1, 1]."""
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
        if len(stretch) < WINDOW_SAMPLES or rms_db(window) < AUDIBLE_DBFS:
            continue
        position, correlation = find(window, stretch)
        if correlation >= SAME_SPEECH:
            lag, misses = low + position - index, 0
            matches.append(Match(index, lag, correlation))
        else:
            misses += 1
    return matches


@dataclass(frozen=True, slots=True)
class SpeechCut:
    """Where the agent fell silent in mid-speech."""

    index: int  # one past the last audible sample
    packet_s: float  # arrival of the packet that carries it
    silence_s: float  # until the agent's next audible sample, or the end of the recording


def cut_after(
    recording: Recording, reference: NDArray[np.float32], matches: Sequence[Match], after_s: float
) -> SpeechCut | None:
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
        if without_pauses(missing, AUDIBLE_DBFS) >= CUT_SILENCE_S * SAMPLE_RATE_HZ / 2:
            packet = max(0, int(np.searchsorted(recording.packet_starts, index - 1, side="right")) - 1)
            return SpeechCut(index, float(recording.arrivals_s[packet]), silence.duration_s)
    return None


@dataclass(frozen=True, slots=True)
class Continuity:
    """How a recording deviates from the same speech spoken without disturbance."""

    matched_s: float  # how much of the recording was recognized in the reference
    unmatched_s: float  # audible and not recognized: other speech, or too broken to tell
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
        audible_change = without_pauses(spoken) - without_pauses(heard)
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
        if len(spoken) < end - start or rms_db(spoken) < AUDIBLE_DBFS:
            continue
        heard = recording.samples[start:end]
        if rms_db(heard) - rms_db(spoken) > DUCKED_DB:
            continue
        # The same speech, only quieter; or nothing any more. Anything else has lost its place and tells nothing.
        if rms_db(heard) < PAUSE_DBFS or find(heard, spoken)[1] >= SAME_SPEECH:
            return float(recording.arrivals_s[packet])
    return None


def speech_continues(samples: NDArray[np.float32], reference: NDArray[np.float32], from_index: int) -> bool:
    """Whether speech that `reference` holds in the second after `from_index` turns up in `samples`."""
    for start in range(from_index, from_index + SAMPLE_RATE_HZ, HOP_SAMPLES):
        window = reference[start : start + HOP_SAMPLES]  # 100 ms
        if len(window) < HOP_SAMPLES or rms_db(window) < AUDIBLE_DBFS + 6 or len(window) > len(samples):
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
