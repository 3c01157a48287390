"""Exactness of the speech queue: every sample once and in order, gain, fade, cut and positions."""

import numpy as np
import pytest
from numpy.typing import NDArray

from webrtc.media.speech_queue import SpeechQueue

BLOCK = 480


@pytest.fixture
def queue() -> SpeechQueue:
    return SpeechQueue(capacity_samples=24_000, sample_rate_hz=24_000)


def ramp(count: int, first: int = 0) -> NDArray[np.float32]:
    """Samples that are all different, so that order and loss show."""
    return ((first + np.arange(count)) / 100_000).astype(np.float32)


def test_every_sample_leaves_once_and_in_order_whatever_the_chunks(queue: SpeechQueue) -> None:
    rng = np.random.default_rng(0)
    spoken, written = ramp(10_000), 0
    heard: list[NDArray[np.float32]] = []
    while written < len(spoken):
        count = int(rng.integers(0, 900))
        assert queue.write(spoken[written : written + count]) == min(written, len(spoken))
        written = min(written + count, len(spoken))
        if queue.waiting_samples >= BLOCK:
            heard.append(queue.pop(BLOCK))
    queue.finish()
    while queue.waiting_samples:
        heard.append(queue.pop(BLOCK))
    np.testing.assert_array_equal(np.concatenate(heard)[: len(spoken)], spoken)
    assert queue.position_samples == queue.written_samples == len(spoken)
    assert queue.underruns == 0


def test_silence_when_empty_does_not_move_the_position(queue: SpeechQueue) -> None:
    assert not queue.pop(BLOCK).any()
    assert queue.position_samples == 0
    assert queue.underruns == 0


def test_running_dry_inside_an_utterance_is_one_underrun(queue: SpeechQueue) -> None:
    queue.write(ramp(700))
    for _ in range(5):
        queue.pop(BLOCK)
    assert queue.underruns == 1
    queue.write(ramp(100))
    queue.pop(BLOCK)
    assert queue.underruns == 2


def test_running_dry_after_the_end_is_none(queue: SpeechQueue) -> None:
    queue.write(ramp(700))
    queue.finish()
    for _ in range(5):
        queue.pop(BLOCK)
    assert queue.underruns == 0


def test_what_is_written_may_be_changed_afterwards(queue: SpeechQueue) -> None:
    samples = ramp(BLOCK)
    queue.write(samples)
    samples[:] = 1.0
    np.testing.assert_array_equal(queue.pop(BLOCK), ramp(BLOCK))


def test_beyond_the_capacity_nothing_is_accepted(queue: SpeechQueue) -> None:
    queue.write(ramp(23_000))
    with pytest.raises(BufferError, match="23000 of 24000"):
        queue.write(ramp(1_001))
    assert queue.written_samples == 23_000
    queue.write(ramp(1_000))


def test_anything_but_one_channel_of_float32_is_refused(queue: SpeechQueue) -> None:
    for bad in [np.zeros(10), np.zeros((2, 10), np.float32), np.zeros(10, np.int16)]:
        with pytest.raises(ValueError, match="one channel of float32"):
            queue.write(bad)


def test_what_is_not_a_sample_is_made_one(queue: SpeechQueue) -> None:
    queue.write(np.array([np.nan, 7.0, -np.inf, 0.5], np.float32))
    np.testing.assert_array_equal(queue.pop(4), np.array([0.0, 1.0, -1.0, 0.5], np.float32))


def test_ducking_ramps_and_restores_without_losing_a_sample(queue: SpeechQueue) -> None:
    level = 10 ** (-15 / 20)
    queue.write(np.full(4 * BLOCK, 0.5, np.float32))
    before = queue.pop(BLOCK)
    queue.set_gain(level, ramp_ms=10)
    ducked = queue.pop(BLOCK)
    queue.set_gain(1.0, ramp_ms=10)
    restored = queue.pop(BLOCK)
    np.testing.assert_array_equal(before, np.full(BLOCK, 0.5, np.float32))
    assert np.all(np.diff(ducked[:240]) < 0)
    np.testing.assert_allclose(ducked[240:], 0.5 * level, rtol=1e-5)
    assert np.all(np.diff(restored[:240]) > 0)
    np.testing.assert_array_equal(restored[240:], np.full(240, 0.5, np.float32))
    assert queue.position_samples == 3 * BLOCK
    np.testing.assert_array_equal(queue.pop(BLOCK), np.full(BLOCK, 0.5, np.float32))


def test_after_a_false_alarm_the_same_samples_come_as_without(queue: SpeechQueue) -> None:
    spoken = ramp(20 * BLOCK) + 0.1
    queue.write(spoken)
    heard: list[NDArray[np.float32]] = []
    for n in range(20):
        if n == 5:
            queue.set_gain(0.2, ramp_ms=10)
        if n == 9:
            queue.set_gain(1.0, ramp_ms=10)
        heard.append(queue.pop(BLOCK))
    samples = np.concatenate(heard)
    undisturbed = np.r_[0 : 5 * BLOCK, 9 * BLOCK + 240 : 20 * BLOCK]
    np.testing.assert_array_equal(samples[undisturbed], spoken[undisturbed])
    np.testing.assert_allclose(samples[6 * BLOCK : 9 * BLOCK], 0.2 * spoken[6 * BLOCK : 9 * BLOCK], rtol=1e-4)


def test_a_restored_gain_before_the_ramp_began_changes_nothing(queue: SpeechQueue) -> None:
    queue.write(ramp(BLOCK))
    queue.set_gain(0.2, ramp_ms=10)
    queue.set_gain(1.0, ramp_ms=10)
    np.testing.assert_array_equal(queue.pop(BLOCK), ramp(BLOCK))


def test_a_cut_fades_within_the_next_block_and_says_where_speech_ends(queue: SpeechQueue) -> None:
    queue.write(np.full(10_000, 0.5, np.float32))
    queue.pop(BLOCK)
    end = queue.cut(fade_ms=10)
    assert end == queue.written_samples == BLOCK + 240
    tail = queue.pop(BLOCK)
    assert np.all(np.diff(tail[:240]) < 0)
    assert tail[239] == 0
    assert not tail[240:].any()
    assert queue.position_samples == end
    assert queue.underruns == 0


def test_a_cut_of_less_than_the_fade_fades_what_there_is(queue: SpeechQueue) -> None:
    queue.write(np.full(100, 0.5, np.float32))
    assert queue.cut(fade_ms=10) == 100
    tail = queue.pop(BLOCK)
    assert tail[0] == 0.5
    assert tail[99] == 0


def test_a_cut_of_nothing_is_harmless(queue: SpeechQueue) -> None:
    assert queue.cut(fade_ms=10) == 0
    assert queue.cut(fade_ms=10) == 0
    assert not queue.pop(BLOCK).any()


def test_cut_while_ducked_the_fade_begins_ducked_and_the_next_speech_is_loud(queue: SpeechQueue) -> None:
    queue.write(np.full(10_000, 0.5, np.float32))
    queue.set_gain(0.2, ramp_ms=10)
    queue.pop(BLOCK)
    end = queue.cut(fade_ms=10)
    assert queue.write(np.full(BLOCK, 0.25, np.float32)) == end
    block = queue.pop(BLOCK)
    assert block[0] == pytest.approx(0.1, rel=1e-4)
    np.testing.assert_array_equal(block[240:], np.full(240, 0.25, np.float32))


def test_muted_speech_waits_and_goes_on_with_the_next_sample(queue: SpeechQueue) -> None:
    spoken = ramp(4 * BLOCK) + np.float32(0.1)
    queue.write(spoken)
    queue.mute(ramp_ms=10)
    fading, muted = queue.pop(BLOCK), queue.pop(BLOCK)
    np.testing.assert_allclose(fading[:240], spoken[:240] * (1 - np.arange(1, 241) / 240), atol=1e-6)
    assert not fading[240:].any()
    assert not muted.any()
    assert queue.position_samples == 240
    assert queue.underruns == 0
    queue.set_gain(1.0, ramp_ms=10)
    rest = np.concatenate([queue.pop(BLOCK) for _ in range(3)])
    np.testing.assert_allclose(rest[:240], spoken[240:480] * (np.arange(1, 241) / 240), atol=1e-6)
    np.testing.assert_array_equal(rest[240:], spoken[480 : 240 + 3 * BLOCK])


def test_muted_speech_can_be_cut_unheard(queue: SpeechQueue) -> None:
    queue.write(ramp(4 * BLOCK))
    queue.mute(ramp_ms=10)
    queue.pop(BLOCK)
    assert queue.cut(fade_ms=10) == queue.written_samples == 240
    assert queue.write(ramp(BLOCK)) == 240
    np.testing.assert_array_equal(queue.pop(BLOCK), ramp(BLOCK))
