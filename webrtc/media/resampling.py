"""From a stream's rate to the microphone's with a fixed, short delay; today 48 kHz to 16 kHz.

Ours, because 20 ms in must give 20 ms out at once: a resampler that keeps back its filter's tail (swr, soxr) leaves
each frame a few samples short, and so makes it wait for the next packet.
"""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from webrtc.interface import MICROPHONE_RATE_HZ

FACTOR = 3
TAPS = 97
CUTOFF = 7_400 / 24_000  # of the input's Nyquist frequency: flat to 6.5 kHz, 60 dB down from 8.3 kHz
DELAY_MS = (TAPS - 1) / 2 / 48  # 1.0


def _low_pass() -> NDArray[np.float32]:
    """Linear-phase low pass, [TAPS], unity at 0 Hz: a sinc under a Kaiser window (beta 5.65 is 60 dB)."""
    n = np.arange(TAPS) - (TAPS - 1) / 2
    taps = np.sinc(n * CUTOFF) * np.kaiser(TAPS, 5.65)
    return (taps / taps.sum()).astype(np.float32)


class Resampler(Protocol):
    """One stream's filter state."""

    def process(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """A block at the stream's rate to as much time at the microphone's, [S], at once."""
        ...


class Decimator:
    """One stream's filter state."""

    _taps = _low_pass()

    def __init__(self) -> None:
        self._history = np.zeros(TAPS - 1, np.float32)

    def process(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """[3 n] samples at 48 kHz to [n] at 16 kHz, delayed by DELAY_MS."""
        assert samples.size % FACTOR == 0
        extended = np.concatenate((self._history, samples))
        self._history = extended[samples.size :]
        return np.convolve(extended, self._taps, "valid")[::FACTOR]


def resampler_from(rate_hz: int) -> Resampler:
    """A filter from this rate to the microphone's.

    Raises:
        ValueError: there is none for this rate.
    """
    if rate_hz == FACTOR * MICROPHONE_RATE_HZ:
        return Decimator()
    raise ValueError(f"no filter leads from {rate_hz} Hz to {MICROPHONE_RATE_HZ} Hz")
