"""Samples as 16-bit integers and back."""

import numpy as np
from numpy.typing import NDArray

from webrtc.media.pcm import from_pcm16, to_pcm16


def float32(*values: float) -> NDArray[np.float32]:
    return np.array(values, np.float32)


def test_full_scale_is_kept_and_what_is_louder_is_clipped() -> None:
    assert to_pcm16(float32(-7.0, -1.0, 0.0, 1.0, 7.0)).tolist() == [-32_767, -32_767, 0, 32_767, 32_767]
    assert from_pcm16(np.array([-32_768, 0, 16_384], np.int16)).tolist() == [-1.0, 0.0, 0.5]


def test_the_bytes_are_little_endian() -> None:
    assert to_pcm16(float32(1.0)).tobytes() == b"\xff\x7f"


def test_there_and_back_is_off_by_less_than_two_steps() -> None:
    samples = np.linspace(-1, 1, 100_001, dtype=np.float32)
    back = from_pcm16(to_pcm16(samples))
    assert back.dtype == np.float32
    assert np.abs(back - samples).max() < 2 / 32_768
