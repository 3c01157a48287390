"""Pitch and openness of windows whose answer is known."""

import numpy as np
from numpy.typing import NDArray

from pipelines.listening.voicing import SAMPLE_RATE_HZ, WINDOW_SAMPLES, SibilantDetector, measure_voicing

TIME = np.arange(WINDOW_SAMPLES) / SAMPLE_RATE_HZ


def harmonics(pitch_hz: float, levels: dict[int, float]) -> NDArray[np.float32]:
    wave = sum(level * np.sin(2 * np.pi * pitch_hz * number * TIME) for number, level in levels.items())
    return (0.1 * np.asarray(wave)).astype(np.float32)


def test_open_vowel_is_voiced_and_no_hum() -> None:
    for pitch_hz in (80, 120, 210, 330):
        vowel = harmonics(pitch_hz, {n: 1.0 if n * pitch_hz < 900 else 0.3 for n in range(1, int(3000 / pitch_hz))})
        assert measure_voicing(vowel).is_voiced, pitch_hz
        assert not measure_voicing(vowel).is_hum, pitch_hz


def test_closed_mouth_is_a_hum() -> None:
    for pitch_hz in (90, 120, 210):
        murmur = harmonics(pitch_hz, {1: 1.0, 2: 0.5, 3: 0.05, 4: 0.03})
        assert measure_voicing(murmur).is_voiced, pitch_hz
        assert measure_voicing(murmur).is_hum, pitch_hz


def test_breath_and_silence_have_no_pitch() -> None:
    noise = np.random.default_rng(0).standard_normal(WINDOW_SAMPLES).astype(np.float32) * 0.1
    assert not measure_voicing(noise).is_voiced
    assert not measure_voicing(np.zeros(WINDOW_SAMPLES, np.float32)).is_voiced


def hiss(level: float) -> NDArray[np.float32]:
    spectrum = np.fft.rfft(np.random.default_rng(1).standard_normal(WINDOW_SAMPLES))
    spectrum[np.fft.rfftfreq(WINDOW_SAMPLES, 1 / SAMPLE_RATE_HZ) < 3500] = 0
    return (level * np.fft.irfft(spectrum)).astype(np.float32)


def test_a_sibilant_stands_out_of_the_room() -> None:
    detector = SibilantDetector()
    for _ in range(30):
        assert not detector.is_sibilant(hiss(0.0005))
    assert detector.is_sibilant(hiss(0.02))
    assert not detector.is_sibilant(harmonics(150, {1: 1.0, 3: 0.5}))


def test_a_steady_hiss_is_the_room() -> None:
    detector = SibilantDetector()
    assert not any([detector.is_sibilant(hiss(0.02)) for _ in range(100)][1:])
