from typing import Any

import pytest
import torch

from asr.voxtral.mel import LogMel
from asr.voxtral.timing import HOP_SAMPLES, KEPT_SAMPLES, STEP_SAMPLES, WINDOW_SAMPLES

SAME = 3e-6  # a product with the transform's matrix beside a fast Fourier transform


def test_equals_the_reference(reference: Any) -> None:
    mel = LogMel(reference.sizes.mels)
    torch.manual_seed(0)
    samples = torch.randn(20 * STEP_SAMPLES).clamp(-1, 1) * 0.3
    samples[:WINDOW_SAMPLES] = 0.0  # the reference reflects what lies before the first sample

    found = mel(torch.nn.functional.pad(samples, (WINDOW_SAMPLES // 2, 0)))

    torch.testing.assert_close(found, reference.mel(samples)[: len(found)], atol=1e-5, rtol=0)


@pytest.mark.parametrize("hops", [1, 3, 8, 50])
def test_streamed_equals_whole(hops: int) -> None:
    mel = LogMel(128)
    samples = torch.rand(200 * HOP_SAMPLES + KEPT_SAMPLES) * 2 - 1
    whole = mel(samples)

    parts = samples.unfold(0, hops * HOP_SAMPLES + KEPT_SAMPLES, hops * HOP_SAMPLES)

    torch.testing.assert_close(mel(parts).flatten(0, 1), whole[: len(parts) * hops], atol=SAME, rtol=0)


def test_silence_and_overload_stay_in_range() -> None:
    mel = LogMel(128)
    silent = mel(torch.zeros(WINDOW_SAMPLES))
    assert (silent == -0.625).all()
    loudest = mel(torch.ones(WINDOW_SAMPLES))
    assert loudest.isfinite().all()
