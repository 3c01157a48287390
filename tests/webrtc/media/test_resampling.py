"""The low-delay resampler: exact lengths, delay, passband and stopband."""

import numpy as np
from numpy.typing import NDArray

from webrtc.media.resampling import DELAY_MS, Decimator


def tone(hz: float, count: int, rate_hz: int) -> NDArray[np.float32]:
    return np.sin(2 * np.pi * hz * np.arange(count) / rate_hz).astype(np.float32)


def rms_db(samples: NDArray[np.float32]) -> float:
    return 10 * np.log10(np.mean(samples**2))


def test_each_block_gives_its_third_at_once() -> None:
    decimator = Decimator()
    assert [decimator.process(np.zeros(n, np.float32)).size for n in (480, 960, 2880)] == [160, 320, 960]


def test_blocks_join_as_if_they_were_one() -> None:
    samples = np.random.default_rng(0).standard_normal(9_600).astype(np.float32)
    decimator = Decimator()
    parts = [decimator.process(block) for block in np.split(samples, 10)]
    np.testing.assert_allclose(np.concatenate(parts), Decimator().process(samples), atol=1e-5)


def test_speech_passes_unchanged_after_the_delay() -> None:
    for hz in [100, 1_000, 4_000, 6_000]:
        heard = Decimator().process(tone(hz, 48_000, 48_000))
        delay = round(DELAY_MS * 16)
        assert delay / 16 == DELAY_MS
        np.testing.assert_allclose(heard[delay + 200 :], tone(hz, 16_000, 16_000)[200:-delay], atol=0.02)


def test_what_would_alias_is_removed() -> None:
    for hz in [9_000, 12_000, 20_000]:
        assert rms_db(Decimator().process(tone(hz, 48_000, 48_000))[200:]) < -55
