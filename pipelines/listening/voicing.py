"""Acoustic facts about a window of sound: is there pitch, is the mouth closed, does it hiss.

A breath has no pitch; "mhm" has, but little above the murmur of a closed mouth. A word may begin with 120 ms of
sibilant, which voice detection does not know for speech. None of this needs words.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE_HZ = 16_000
WINDOW_SAMPLES = 512

FFT_SAMPLES = 1024  # twice the window: the inverse of the power spectrum is then the linear autocorrelation
PITCH_HZ = (70.0, 400.0)
VOICED_CORRELATION = 0.45  # of the strongest pitch lag against lag zero, lag-compensated
MURMUR_HZ = 600.0  # a nasal murmur's energy lies below this; every vowel but a closed one has a formant above
HUM_HIGH_SHARE = 0.2  # of the energy, above MURMUR_HZ, at most
SIBILANT_HZ = 3000.0
SIBILANT_SHARE = 0.6  # of the energy, above SIBILANT_HZ, at least
SIBILANT_DB = 15.0  # above the noise floor
SIBILANT_DBFS = -50.0  # and not quieter than this, however quiet the room
FLOOR_RISE_DB = 0.1  # per window: 3 dB a second

_HANN = np.hanning(WINDOW_SAMPLES).astype(np.float32)
_LAGS = slice(int(SAMPLE_RATE_HZ / PITCH_HZ[1]), int(SAMPLE_RATE_HZ / PITCH_HZ[0]) + 1)
_WINDOW_CORRELATION = np.fft.irfft(np.abs(np.fft.rfft(_HANN, FFT_SAMPLES)) ** 2)[:WINDOW_SAMPLES]
_FREQUENCIES = np.fft.rfftfreq(FFT_SAMPLES, 1 / SAMPLE_RATE_HZ)
_AUDIBLE = _FREQUENCIES >= PITCH_HZ[0]
_HIGH = _FREQUENCIES >= MURMUR_HZ
_HISS = _FREQUENCIES >= SIBILANT_HZ


@dataclass(frozen=True, slots=True)
class Voicing:
    """What a window sounds like."""

    is_voiced: bool
    is_hum: bool


def measure_voicing(window: NDArray[np.float32]) -> Voicing:
    """Pitch and openness of 512 samples at 16 kHz, [512] in [-1, 1].

    Voiced is a normalized autocorrelation peak between 70 and 400 Hz (Boersma 1993, dividing by that of the window);
    a hum is voiced and has nearly all its energy below the first formant of an open mouth.
    """
    power = np.abs(np.fft.rfft(window * _HANN, FFT_SAMPLES)) ** 2
    power = np.where(_AUDIBLE, power, 0.0)
    total = float(power.sum())
    if total <= 1e-9:
        return Voicing(is_voiced=False, is_hum=False)
    correlation = np.fft.irfft(power)[:WINDOW_SAMPLES]
    normalized = correlation[_LAGS] / correlation[0] * (_WINDOW_CORRELATION[0] / _WINDOW_CORRELATION[_LAGS])
    is_voiced = float(normalized.max()) >= VOICED_CORRELATION
    return Voicing(is_voiced=is_voiced, is_hum=is_voiced and float(power[_HIGH].sum()) <= HUM_HIGH_SHARE * total)


class SibilantDetector:
    """Hears a hiss that stands out of the room's noise, whose floor it follows."""

    def __init__(self) -> None:
        self._floor_dbfs = 0.0

    def is_sibilant(self, window: NDArray[np.float32]) -> bool:
        """Judge the next 512 samples at 16 kHz, [512] in [-1, 1]."""
        level_dbfs = 10 * np.log10(float(np.mean(window * window)) + 1e-12)
        self._floor_dbfs = min(level_dbfs, self._floor_dbfs + FLOOR_RISE_DB)
        if level_dbfs < max(SIBILANT_DBFS, self._floor_dbfs + SIBILANT_DB):
            return False
        power = np.abs(np.fft.rfft(window * _HANN, FFT_SAMPLES)) ** 2
        return float(power[_HISS].sum()) >= SIBILANT_SHARE * float(power.sum())
