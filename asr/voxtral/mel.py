"""Log-mel frames of the audio, exact when streamed: the floor of the logarithm is fixed, so no frame needs another.

Frame k covers the 400 samples around sample 160 k. The Fourier transform is a product with cosines and sines that
have the window folded in, because a step transforms a few frames of many streams.
"""

import math

import torch
from torch import Tensor, nn

from asr.interface import SAMPLE_RATE_HZ
from asr.voxtral.timing import HOP_SAMPLES, WINDOW_SAMPLES

BINS = WINDOW_SAMPLES // 2 + 1

LEAST_POWER = 1e-10
LARGEST_LOG = 1.5  # `global_log_mel_max` of params.json
LOG_RANGE = 8.0
LOG_SHIFT = 4.0
LOG_SCALE = 4.0

# Slaney's scale: linear up to 1 kHz, logarithmic above, with 27 bands to a factor of 6.4.
HZ_PER_LINEAR_MEL = 200.0 / 3
LOG_FROM_HZ = 1000.0
LOG_FROM_MEL = LOG_FROM_HZ / HZ_PER_LINEAR_MEL
MELS_PER_NEPER = 27.0 / math.log(6.4)


def _hz_of(mels: Tensor) -> Tensor:
    above = LOG_FROM_HZ * torch.exp((mels - LOG_FROM_MEL) / MELS_PER_NEPER)
    return torch.where(mels < LOG_FROM_MEL, mels * HZ_PER_LINEAR_MEL, above)


def filter_bank(bands: int) -> Tensor:
    """Triangles of equal area from 0 Hz to half the sample rate, [BINS, bands] float64."""
    highest_mel = LOG_FROM_MEL + MELS_PER_NEPER * math.log(SAMPLE_RATE_HZ / 2 / LOG_FROM_HZ)
    edges = _hz_of(torch.linspace(0.0, highest_mel, bands + 2, dtype=torch.float64))  # [bands + 2]
    bins = torch.linspace(0.0, SAMPLE_RATE_HZ / 2, BINS, dtype=torch.float64)[:, None]  # [BINS, 1]
    low, middle, high = edges[:-2], edges[1:-1], edges[2:]
    rise, fall = (bins - low) / (middle - low), (high - bins) / (high - middle)
    return torch.minimum(rise, fall).clamp(min=0.0) * (2.0 / (high - low))


class LogMel(nn.Module):
    """Samples to log-mel frames, in float32 whatever the type of the model. Silence gives -0.625."""

    basis: Tensor
    filters: Tensor

    def __init__(self, bands: int, device: torch.device | str | None = None) -> None:
        super().__init__()
        time = torch.arange(WINDOW_SAMPLES, dtype=torch.float64)
        angles = 2 * math.pi / WINDOW_SAMPLES * time[:, None] * torch.arange(BINS)  # [WINDOW_SAMPLES, BINS]
        window = torch.hann_window(WINDOW_SAMPLES, dtype=torch.float64)[:, None]
        basis = torch.cat((window * angles.cos(), window * angles.sin()), dim=1)
        self.register_buffer("basis", basis.to(device=device, dtype=torch.float32), persistent=False)
        self.register_buffer("filters", filter_bank(bands).to(device=device, dtype=torch.float32), persistent=False)

    def forward(self, samples: Tensor) -> Tensor:
        """Frames [..., T, bands] of samples [..., 240 + 160 T] in [-1, 1]; the first is centered on sample 200."""
        windows = samples.unfold(-1, WINDOW_SAMPLES, HOP_SAMPLES)  # [..., T, WINDOW_SAMPLES]
        real, imaginary = (windows @ self.basis).chunk(2, dim=-1)  # [..., T, BINS]
        power = (real.square() + imaginary.square()) @ self.filters  # [..., T, bands]
        log = power.clamp(min=LEAST_POWER).log10().clamp(min=LARGEST_LOG - LOG_RANGE)
        return (log + LOG_SHIFT) / LOG_SCALE
