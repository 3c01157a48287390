"""Samples between float32 in [-1, 1] and the 16-bit integers of files, wires and codecs."""

import numpy as np
from numpy.typing import NDArray

_FULL_SCALE = 32_768.0
_LARGEST = 32_767.0


def to_pcm16(samples: NDArray[np.float32]) -> NDArray[np.int16]:
    """Samples, any shape, as little-endian 16-bit integers; what is louder than 1 is clipped."""
    return (np.clip(samples, -1.0, 1.0) * _LARGEST).astype("<i2")


def from_pcm16(samples: NDArray[np.int16]) -> NDArray[np.float32]:
    """16-bit integers, any shape, as samples in [-1, 1)."""
    return samples.astype(np.float32) / np.float32(_FULL_SCALE)
