"""Reading one call's recording, on recordings that are made up sample by sample."""

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.call.scenarios import NoStory, Scenario, StoryRecording, observe
from benchmarks.far_end.waveform import SAMPLE_RATE_HZ, Recording

BEGAN_S = 50.0
PACKET = SAMPLE_RATE_HZ // 50
DUCK = 10 ** (-15 / 20)


def at(seconds: float) -> int:
    return round(seconds * SAMPLE_RATE_HZ)


def silence(seconds: float) -> NDArray[np.float32]:
    return np.zeros(at(seconds), np.float32)


@pytest.fixture
def story() -> StoryRecording:
    """Eight seconds of noise with a voice's bandwidth, a pause of 0.2 s after each second."""
    rng = np.random.default_rng(4)
    samples = np.convolve(rng.standard_normal(at(8.0)), np.hanning(24) / 6, mode="same") * 0.15
    samples[(np.arange(len(samples)) / SAMPLE_RATE_HZ) % 1.0 >= 0.8] = 0.0
    samples[0] = 0.2  # so that the story begins with its first sample
    return StoryRecording(samples.astype(np.float32))


def record(*parts: NDArray[np.float32]) -> Recording:
    samples = np.concatenate(parts)
    starts = np.arange(0, len(samples), PACKET)
    return Recording(samples, starts, BEGAN_S + starts / SAMPLE_RATE_HZ)


def test_the_caller_comes_in_where_the_story_is_fluent(story: StoryRecording) -> None:
    moments = story.fluent_moments()
    assert moments == pytest.approx([3.0, 4.0, 5.0, 6.0, 7.0], abs=0.01)
    assert StoryRecording(silence(5.0)).fluent_moments() == []


def test_an_interruption_ducks_and_then_cuts(story: StoryRecording) -> None:
    told = story.samples[: at(3.52)].copy()
    told[at(3.28) :] *= DUCK
    recording = record(silence(2.0), told, silence(2.0))
    seen = observe(Scenario.INTERRUPTION, [0.7, None], recording, story, BEGAN_S + 1.0, BEGAN_S + 5.2)
    assert (list(seen.reply_s), seen.unanswered) == ([0.7], 1)
    assert seen.ducked_s == pytest.approx(0.08)
    assert seen.cut_s == pytest.approx(0.30)  # the packet that holds 3.50 to 3.52
    assert seen.dead_air_s == pytest.approx(2.0, abs=0.01)
    assert not seen.is_stale
    assert seen.continuity is None


def test_a_false_alarm_leaves_the_story_whole(story: StoryRecording) -> None:
    told = story.samples.copy()
    told[at(3.1) : at(3.4)] *= DUCK
    seen = observe(Scenario.COUGH, [], record(silence(2.0), told[: at(7.9)]), story, BEGAN_S + 1.0, BEGAN_S + 5.0)
    assert seen.ducked_s == pytest.approx(0.1)
    assert seen.cut_s is None
    assert seen.dead_air_s == 0.0
    assert seen.continuity is not None
    assert seen.continuity.lost_ms == seen.continuity.repeated_ms == seen.continuity.paused_ms == 0.0


def test_speech_from_before_the_cut_is_stale(story: StoryRecording) -> None:
    stale = story.samples[at(3.5) : at(3.7)]
    recording = record(silence(2.0), story.samples[: at(3.5)], silence(1.0), stale, silence(1.0))
    assert observe(Scenario.INTERRUPTION, [], recording, story, BEGAN_S + 1.0, BEGAN_S + 5.2).is_stale


def test_another_story_is_no_measurement(story: StoryRecording) -> None:
    other = StoryRecording(story.samples[::-1].copy())
    with pytest.raises(NoStory, match="differs"):
        observe(Scenario.COUGH, [], record(silence(2.0), other.samples), story, BEGAN_S + 1.0, BEGAN_S + 5.0)
