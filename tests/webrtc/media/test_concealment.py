"""Concealment: continues without a jump, fades to silence, starts again after audio."""

import numpy as np
import pytest

from webrtc.media.concealment import Concealer


@pytest.fixture
def concealer() -> Concealer:
    concealer = Concealer(memory_samples=320, fade_samples=960)
    concealer.remember((0.5 + 0.1 * np.sin(np.arange(700) / 20)).astype(np.float32))
    return concealer


def test_it_goes_on_where_the_audio_ended(concealer: Concealer) -> None:
    last = 0.5 + 0.1 * np.sin(699 / 20)
    assert concealer.conceal(320)[0] == pytest.approx(last, abs=1e-3)


def test_it_never_jumps_and_fades_to_silence(concealer: Concealer) -> None:
    samples = np.concatenate([concealer.conceal(320) for _ in range(5)])
    assert np.abs(np.diff(samples)).max() < 0.02
    assert np.abs(samples[:320]).max() > 0.3
    assert not samples[960:].any()


def test_the_fade_begins_anew_after_audio(concealer: Concealer) -> None:
    concealer.conceal(2_000)
    concealer.remember(np.full(320, 0.25, np.float32))
    assert concealer.conceal(10)[0] == pytest.approx(0.25)


def test_before_any_audio_there_is_silence() -> None:
    assert not Concealer(memory_samples=320, fade_samples=960).conceal(1_000).any()
