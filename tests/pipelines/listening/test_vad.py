"""Voice detection: edges with hysteresis, the shared Silero model, the ring of recent audio."""

from pathlib import Path

import numpy as np
import pytest
import silero_vad

from pipelines.config import VadConfig
from pipelines.listening.silero import RESET_WINDOWS, WINDOW_SAMPLES, SileroStream, silero_session
from pipelines.listening.vad import MEMORY_SAMPLES, WINDOW_MS, Edge, RecentAudio, VoiceActivity


def edges(probabilities: list[float]) -> list[tuple[int, Edge]]:
    activity = VoiceActivity(VadConfig())
    found = [(number, activity.update(p)) for number, p in enumerate(probabilities, start=1)]
    return [(number, edge) for number, edge in found if edge]


def test_onset_after_two_windows_and_pause_after_six() -> None:
    onset, pause = 64 // WINDOW_MS, 192 // WINDOW_MS
    assert edges([0.1] * 5 + [0.9] * 10 + [0.1] * 10) == [(5 + onset, Edge.ONSET), (15 + pause, Edge.PAUSE)]


def test_a_single_window_is_no_voice_and_a_short_dip_no_pause() -> None:
    assert edges([0.9, 0.1] * 10) == []
    assert edges([0.9] * 4 + [0.1] * 5 + [0.9] * 4) == [(2, Edge.ONSET)]


def test_a_doubtful_window_keeps_the_state() -> None:
    assert edges([0.4] * 20) == []
    assert edges([0.9] * 2 + [0.4] * 20) == [(2, Edge.ONSET)]


def test_streams_share_the_session_and_not_the_state() -> None:
    rng = np.random.default_rng(0)
    windows = [rng.standard_normal(WINDOW_SAMPLES).astype(np.float32) * 0.1 for _ in range(20)]
    alone = SileroStream()
    expected = [alone.probability(window) for window in windows]
    one, other = SileroStream(), SileroStream()
    got = []
    for window in windows:
        got.append(one.probability(window))
        other.probability(-window)
    assert got == expected
    assert silero_session() is silero_session()


def test_long_silence_resets_the_state() -> None:
    silence = np.zeros(WINDOW_SAMPLES, np.float32)
    stream = SileroStream()
    fresh = stream.probability(silence)
    later = [stream.probability(silence) for _ in range(RESET_WINDOWS)]
    assert later[-1] == pytest.approx(fresh, abs=0.05)
    assert max(later) < 0.1


def test_the_model_is_the_one_of_the_silero_package() -> None:
    """The package needs torch; Pipecat ships the same file without it."""
    theirs = Path(silero_vad.__file__).parent / "data" / "silero_vad.onnx"
    from importlib.resources import files

    assert files("pipecat.audio.vad.data").joinpath("silero_vad.onnx").read_bytes() == theirs.read_bytes()


def test_recent_audio_is_a_ring() -> None:
    recent = RecentAudio()
    count = MEMORY_SAMPLES + 12_345
    samples = (np.arange(count) % 30_000).astype(np.int16)
    for start in range(0, count, 320):
        recent.append(samples[start : start + 320])
    np.testing.assert_array_equal(recent.latest(), samples[-MEMORY_SAMPLES:].astype(np.float32) / 32768)
    assert len(RecentAudio().latest()) == 0
