"""The waveform analysis that the benchmarks stand on, on signals whose answers are known to the sample."""

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.far_end.tracking import continuity, cut_after, find, first_ducked_s, goes_on, speech_continues, track
from benchmarks.far_end.waveform import SAMPLE_RATE_HZ, Recording, lateness_s, onset_s, silences

PACKET = SAMPLE_RATE_HZ // 50
BEGAN_S = 100.0  # an arbitrary reading of the monotonic clock
TRANSIT_S = 0.003


def silence(seconds: float) -> NDArray[np.float32]:
    return np.zeros(round(seconds * SAMPLE_RATE_HZ), np.float32)


def speech(seconds: float, seed: int = 1) -> NDArray[np.float32]:
    """Noise with a voice's bandwidth and syllables at 4 Hz, with a digital pause of 60 ms after each second."""
    rng = np.random.default_rng(seed)
    count = round(seconds * SAMPLE_RATE_HZ)
    smooth = np.convolve(rng.standard_normal(count), np.hanning(24) / 6, mode="same")
    time_s = np.arange(count) / SAMPLE_RATE_HZ
    voiced = smooth * (0.12 + 0.06 * np.sin(2 * np.pi * 4 * time_s))
    voiced[(time_s % 1.0) >= 0.94] = 0.0
    return voiced.astype(np.float32)


def record(samples: NDArray[np.float32], delays_s: dict[int, float] | None = None) -> Recording:
    """A recording whose packets left in real time; `delays_s` holds some of them up."""
    starts = np.arange(0, len(samples), PACKET)
    arrivals = BEGAN_S + TRANSIT_S + starts / SAMPLE_RATE_HZ
    for packet, delay in (delays_s or {}).items():
        arrivals[packet] += delay
    return Recording(samples, starts, arrivals)


def test_onset_is_exact_and_ignores_what_came_before() -> None:
    samples = np.concatenate([speech(0.5), silence(1.0), speech(0.5, seed=2)])
    samples[: round(1.5 * SAMPLE_RATE_HZ)][-480:] = 0.001  # a whisper of noise is not speech
    samples[round(1.5 * SAMPLE_RATE_HZ)] = 0.5
    assert onset_s(record(samples), BEGAN_S + 0.7) == pytest.approx(BEGAN_S + TRANSIT_S + 1.5, abs=1e-9)


def test_onset_of_silence_is_none() -> None:
    assert onset_s(record(silence(1.0)), BEGAN_S) is None
    assert onset_s(record(speech(1.0)), BEGAN_S + 99) is None


def test_silences_include_both_ends() -> None:
    samples = np.concatenate([silence(0.3), np.full(480, 0.5, np.float32), silence(0.1), np.full(480, 0.5, np.float32)])
    found = silences(samples, 0.05)
    assert [(s.start, s.end) for s in found] == [(0, 14_400), (14_880, 19_680)]
    assert found[0].duration_s == pytest.approx(0.3)


def test_cut_is_the_arrival_of_the_last_audible_packet() -> None:
    reference = speech(3.0)
    spoken = round(1.5 * SAMPLE_RATE_HZ) + 100  # the cut falls 100 samples into packet 75
    samples = np.concatenate([reference[:spoken], silence(0.3), speech(1.0, seed=3)])
    samples[spoken - 1] = 0.5
    recording = record(samples, {75: 0.004})
    cut = cut_after(recording, reference, track(samples, reference, 0), BEGAN_S + 1.0)
    assert cut is not None
    assert cut.index == spoken
    assert cut.packet_s == pytest.approx(BEGAN_S + TRANSIT_S + 75 * 0.02 + 0.004)
    assert cut.silence_s == pytest.approx(0.3, abs=0.005)


def test_pauses_of_the_speech_itself_are_no_cut() -> None:
    reference = np.concatenate([speech(2.0), silence(0.7), speech(2.0, seed=2)])
    late = np.concatenate([reference[:40_000], silence(0.05), reference[40_000:]])  # a stumble shifts what follows
    assert cut_after(record(late), reference, track(late, reference, 0), BEGAN_S) is None


def test_speech_goes_on_after_a_hole_unless_it_begins_anew_or_is_other_speech() -> None:
    reference = speech(6.0)
    told = reference[: 3 * SAMPLE_RATE_HZ]
    hole = silence(2.0)

    def is_whole(rest: NDArray[np.float32]) -> bool:
        samples = np.concatenate([told, hole, rest])
        return goes_on(samples, track(samples, reference, 0), len(told))

    assert is_whole(reference[len(told) :])
    assert is_whole(reference[len(told) - 24_000 :])
    assert not is_whole(np.concatenate([speech(3.5, seed=6), reference[:9_600]]))
    assert not is_whole(silence(2.0))


def test_a_story_told_anew_does_not_go_on() -> None:
    reference = speech(9.0)
    samples = np.concatenate([reference[: 5 * SAMPLE_RATE_HZ], silence(1.0), reference[: 3 * SAMPLE_RATE_HZ]])
    assert not goes_on(samples, track(samples, reference, 0), 5 * SAMPLE_RATE_HZ)


def test_a_recording_since_a_sample_keeps_its_times() -> None:
    recording = record(speech(1.0))
    later = recording.since(10_000)
    assert len(later.samples) == len(recording.samples) - 10_000
    assert later.time_of(20_000) == pytest.approx(recording.time_of(30_000))


def test_a_recording_between_two_times_begins_with_a_whole_packet() -> None:
    part = record(speech(1.0)).between(BEGAN_S + 0.1, BEGAN_S + 0.2)
    assert (len(part.packet_starts), len(part.samples)) == (5, 5 * PACKET)
    assert part.packet_starts[0] == 0
    with pytest.raises(ValueError, match="no packet"):
        record(speech(1.0)).between(BEGAN_S + 5, BEGAN_S + 6)


def test_lost_time_is_late_until_the_schedule_is_forgotten() -> None:
    late = lateness_s(record(silence(10.0), dict.fromkeys(range(100, 500), 0.2)))
    assert np.count_nonzero(late > 0.19) == pytest.approx(5.0 / 0.02, abs=1)
    assert late[-1] == pytest.approx(0.0)


def test_a_sender_that_falls_behind_is_late_all_the_time() -> None:
    late = lateness_s(record(silence(10.0), {packet: 0.001 * packet for packet in range(500)}))
    assert np.count_nonzero(late > 0.06) == pytest.approx(440, abs=1)


def test_lateness_counts_from_the_earliest_schedule() -> None:
    late = lateness_s(record(silence(1.0), {3: 0.070, 7: 0.010}))
    assert late[3] == pytest.approx(0.070)
    assert late[7] == pytest.approx(0.010)
    assert np.count_nonzero(late > 1e-6) == 2


def test_find_tells_the_place_whatever_the_gain() -> None:
    reference = speech(2.0)
    position, correlation = find(0.1 * reference[30_000:42_000], reference)
    assert position == 30_000
    assert correlation == pytest.approx(1.0, abs=1e-3)
    assert find(speech(0.25, seed=9), reference)[1] < 0.5


def test_find_refuses_a_window_longer_than_the_reference() -> None:
    with pytest.raises(ValueError, match="longer"):
        find(speech(1.0), speech(0.5))


def test_undisturbed_speech_is_continuous_even_when_ducked() -> None:
    reference = speech(4.0)
    heard = np.concatenate([silence(0.2), reference])
    heard[70_000:110_000] *= 10 ** (-15 / 20)
    result = continuity(heard, reference, track(heard, reference, -9_600))
    assert (result.lost_ms, result.repeated_ms, result.paused_ms) == (0, 0, 0)
    assert result.matched_s > 3.8
    assert result.unmatched_s < 0.2  # a window that straddles the change of gain


def test_a_long_jump_is_followed() -> None:
    reference = speech(6.0)
    heard = np.concatenate([reference[:63_000], reference[159_000:]])
    result = continuity(heard, reference, track(heard, reference, 0))
    assert result.lost_ms == pytest.approx(2000 - 2 * 60, abs=0.1)  # two of the skipped stretch's pauses are no speech


def test_other_speech_is_not_taken_for_the_same() -> None:
    heard = np.concatenate([speech(2.0), speech(2.0, seed=8)])
    reference = speech(6.0)
    result = continuity(heard, reference, track(heard, reference, 0))
    assert result.unmatched_s == pytest.approx(2.0 - 2 * 0.06, abs=0.25)


def test_lost_samples_are_counted() -> None:
    reference = speech(4.0)
    for milliseconds in (5, 40, 300):
        gone = milliseconds * 48
        heard = np.concatenate([reference[:63_000], reference[63_000 + gone :]])
        result = continuity(heard, reference, track(heard, reference, 0))
        assert result.lost_ms == pytest.approx(milliseconds, abs=0.1)
        assert result.repeated_ms == result.paused_ms == 0


def test_repeated_samples_are_counted() -> None:
    reference = speech(4.0)
    for milliseconds in (20, 320):
        twice = milliseconds * 48
        heard = np.concatenate([reference[:63_000], reference[63_000 - twice :]])
        result = continuity(heard, reference, track(heard, reference, 0))
        assert result.repeated_ms == pytest.approx(milliseconds, abs=0.1)
        assert result.lost_ms == result.paused_ms == 0


def test_a_pause_put_in_is_neither_lost_nor_repeated() -> None:
    reference = speech(4.0)
    heard = np.concatenate([reference[:63_000], silence(0.25), reference[63_000:]])
    result = continuity(heard, reference, track(heard, reference, 0))
    assert result.paused_ms == pytest.approx(250, abs=0.1)
    assert result.lost_ms == result.repeated_ms == 0


def test_the_first_ducked_packet_is_found_against_the_undisturbed_speech() -> None:
    reference = speech(4.0)
    heard = np.concatenate([silence(0.1), reference])
    duck_from = 90 * PACKET
    heard[duck_from:] *= 10 ** (-15 / 20)
    ducked = first_ducked_s(record(heard), reference, -4_800, BEGAN_S + 1.0, len(heard))
    assert ducked == pytest.approx(BEGAN_S + TRANSIT_S + 90 * 0.02)
    assert first_ducked_s(record(heard), reference, -4_800, BEGAN_S + 1.0, duck_from) is None


def test_stale_speech_after_a_cut_is_recognized() -> None:
    reference = speech(4.0)
    stale = np.concatenate([silence(0.3), reference[60_000:80_000], silence(0.3)])
    assert speech_continues(stale, reference, 57_600)
    assert not speech_continues(np.concatenate([silence(0.3), speech(1.0, seed=5)]), reference, 57_600)
