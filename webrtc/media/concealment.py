"""What is heard where packets are missing."""

import numpy as np
from numpy.typing import NDArray


class Concealer:
    """Repeats the end of the last audio, backward and forward so that the joints do not click, and fades it out."""

    def __init__(self, *, memory_samples: int, fade_samples: int) -> None:
        self._memory_samples = memory_samples
        self._fade_samples = fade_samples
        self._last = np.zeros(memory_samples, np.float32)
        self._concealed_samples = 0

    def remember(self, samples: NDArray[np.float32]) -> None:
        """Note audio that was received, [S]."""
        self._last = np.concatenate((self._last, samples))[-self._memory_samples :]
        self._concealed_samples = 0

    def conceal(self, count: int) -> NDArray[np.float32]:
        """The next `count` samples of a stretch without audio, [count]."""
        n = self._concealed_samples + np.arange(count)
        self._concealed_samples += count
        loop = np.concatenate((self._last[::-1], self._last))
        gain = np.clip(1 - n / self._fade_samples, 0, 1)
        return (loop[n % loop.size] * gain).astype(np.float32)
