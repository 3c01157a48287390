"""Bytes from a server into samples, and samples into frames."""

import numpy as np
from numpy.typing import NDArray

FRAME_MS = 80

PCM16 = np.dtype("<i2")
FLOAT32 = np.dtype("<f4")


class SampleReader:
    """Little-endian mono samples in blocks of any number of bytes, into whole frames.

    Args:
        encoding: PCM16 or FLOAT32.
        sample_rate_hz: of the samples.
    """

    def __init__(self, encoding: np.dtype[np.int16] | np.dtype[np.float32], sample_rate_hz: int) -> None:
        self._encoding = encoding
        self._frame_samples = sample_rate_hz * FRAME_MS // 1000
        self._bytes = b""  # of a sample begun
        self._samples = np.zeros(0, np.float32)  # of a frame begun

    def take(self, block: bytes) -> list[NDArray[np.float32]]:
        """The frames that this block completes, each [80 ms] in [-1, 1]; what is not finite is silence."""
        found = self._bytes + block
        whole = len(found) - len(found) % self._encoding.itemsize
        self._bytes = found[whole:]
        samples = np.frombuffer(found[:whole], self._encoding).astype(np.float32)
        if self._encoding is PCM16:
            samples /= 32768.0
        else:
            samples = np.clip(np.nan_to_num(samples, posinf=0.0, neginf=0.0), -1.0, 1.0)
        samples = np.concatenate((self._samples, samples))
        frames, self._samples = np.split(samples, [len(samples) - len(samples) % self._frame_samples])
        return list(frames.reshape(-1, self._frame_samples))

    def rest(self) -> NDArray[np.float32]:
        """What is left of the last frame at the end, [less than 80 ms]; half a sample is dropped."""
        return self._samples
