"""The speech that waits for its playout, and the gain it is played with; knows nothing of packets or clocks.

Every accepted sample leaves once and in order, unless it is cut. Gain, fade and cut act from the next sample
that leaves. Positions count samples of speech since the call began; silence between them is not counted.
"""

from collections import deque

import numpy as np
from numpy.typing import NDArray


class SpeechQueue:
    """Samples in, blocks of a fixed length out, padded with silence."""

    def __init__(self, *, capacity_samples: int, sample_rate_hz: int) -> None:
        self.position_samples = 0  # speech that left
        self.underruns = 0  # ran dry inside an utterance
        self._capacity_samples = capacity_samples
        self._sample_rate_hz = sample_rate_hz
        self._chunks: deque[NDArray[np.float32]] = deque()
        self._waiting_samples = 0
        self._is_in_utterance = False
        self._is_muted = False
        self._gain = 1.0
        self._target_gain = 1.0
        self._gain_step = 0.0  # per sample, positive

    @property
    def waiting_samples(self) -> int:
        """Speech accepted that has not left."""
        return self._waiting_samples

    @property
    def written_samples(self) -> int:
        """Position at which the accepted speech ends."""
        return self.position_samples + self._waiting_samples

    def write(self, samples: NDArray[np.float32]) -> int:
        """Accept speech in [-1, 1], [S]; returns the position of its first sample.

        Raises:
            ValueError: not one channel of float32.
            BufferError: more than the capacity would wait; nothing was accepted.
        """
        if samples.ndim != 1 or samples.dtype != np.float32:
            raise ValueError(f"speech must be one channel of float32, not {samples.dtype} of shape {samples.shape}")
        if self._waiting_samples + samples.size > self._capacity_samples:
            raise BufferError(
                f"playout holds {self._waiting_samples} of {self._capacity_samples} samples and has no room for "
                f"{samples.size} more; write speech as it is played out"
            )
        first = self.written_samples
        if samples.size:
            self._chunks.append(np.clip(np.nan_to_num(samples), -1.0, 1.0))
            self._waiting_samples += samples.size
            self._is_in_utterance = True
        return first

    def finish(self) -> None:
        """The utterance is complete: running dry from here on is no underrun."""
        self._is_in_utterance = False

    def mute(self, *, ramp_ms: float) -> None:
        """Fade to silence and stay there; what waits stays where it is until the gain is set again."""
        self.set_gain(0.0, ramp_ms=ramp_ms)
        self._is_muted = True

    def set_gain(self, gain: float, *, ramp_ms: float) -> None:
        """Move to `gain` (1.0 is unchanged) linearly within `ramp_ms`."""
        self._is_muted = False
        ramp_samples = max(1, round(ramp_ms * self._sample_rate_hz / 1000))
        self._target_gain = gain
        self._gain_step = abs(gain - self._gain) / ramp_samples

    def cut(self, *, fade_ms: float) -> int:
        """Fade out and drop the rest; gain is unity again for what is written next.

        Returns:
            The position at which speech ends.
        """
        fade_samples = self._audible_samples(round(fade_ms * self._sample_rate_hz / 1000))
        fade_samples = min(self._waiting_samples, fade_samples)
        tail = self._take(fade_samples) * self._next_gains(fade_samples) * np.linspace(1, 0, fade_samples)
        self._chunks.clear()
        self._waiting_samples = fade_samples
        if fade_samples:
            self._chunks.append(tail.astype(np.float32))
        self._gain = self._target_gain = 1.0
        self._is_in_utterance = self._is_muted = False
        return self.written_samples

    def pop(self, count: int) -> NDArray[np.float32]:
        """The next `count` samples, [count]: speech with its gain, then silence if there is not enough."""
        wanted = self._audible_samples(count)
        if self._is_in_utterance and self._waiting_samples < wanted:
            self.underruns += 1
            self._is_in_utterance = False  # one hole is one underrun, however long
        speech = self._take(min(wanted, self._waiting_samples))
        self.position_samples += speech.size
        samples = np.zeros(count, np.float32)
        samples[: speech.size] = speech
        if self._gain != self._target_gain or self._gain != 1.0:
            samples *= self._next_gains(count)
        return samples

    def _audible_samples(self, count: int) -> int:
        """How many of the next `count` samples are heard: all, or while muted the rest of the fade."""
        if not self._is_muted:
            return count
        return min(count, round(self._gain / self._gain_step)) if self._gain_step else 0

    def _take(self, count: int) -> NDArray[np.float32]:
        parts: list[NDArray[np.float32]] = []
        missing = count
        while missing:
            chunk = self._chunks.popleft()
            if chunk.size > missing:
                self._chunks.appendleft(chunk[missing:])
                chunk = chunk[:missing]
            parts.append(chunk)
            missing -= chunk.size
        self._waiting_samples -= count
        return np.concatenate(parts) if parts else np.empty(0, np.float32)

    def _next_gains(self, count: int) -> NDArray[np.float32]:
        """Gain of each of the next `count` samples, [count]; the ramp moves on by as many."""
        steps = self._gain_step * np.arange(1, count + 1)
        if self._target_gain >= self._gain:
            gains = np.minimum(self._gain + steps, self._target_gain)
        else:
            gains = np.maximum(self._gain - steps, self._target_gain)
        if count:
            self._gain = float(gains[-1])
        return gains.astype(np.float32)
