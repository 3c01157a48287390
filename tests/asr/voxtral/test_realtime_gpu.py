"""The way of the step on CUDA: the encoder's in Triton's interpreter on a CPU, all of it on a GPU.

Skipped where Triton is not installed. The interpreter reads its switch when Triton is imported, hence the process.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from asr.voxtral.audio_step import AudioBatch, hear
from asr.voxtral.blocks import AudioBlock, BlockCutter
from asr.voxtral.model import VoxtralRealtime
from asr.voxtral.slots import ListeningSlots
from asr.voxtral.timing import STEP_SAMPLES
from llm.runtime.loop.captured_step import CapturedStep
from llm.runtime.loop.graphs import GraphPool

Speech = Callable[[int, int], NDArray[np.float32]]
ROOT = Path(__file__).parents[3]
CUDA = torch.device("cuda")

BACKENDS = """
import torch
from asr.voxtral.encoder import FRAMES, Encoder
from llm.runtime.kernels import paged_attention as decode_kernel
from llm.runtime.architecture import DecoderConfig
from llm.runtime.backend import StepTokens
from llm.runtime.cache import PagedCache

decode_kernel.PROGRAMS = 4
torch.manual_seed(0)
config = DecoderConfig(
    dim=16, n_layers=1, n_heads=2, n_kv_heads=2, head_dim=8, hidden_dim=24, vocab_size=0, rope_theta=1e4, head="none",
    window=21,
)
encoder = Encoder(config)
for name, parameter in encoder.named_parameters():
    parameter.normal_(std=0.3).add_(1.0 if "norm" in name else 0.0)
frames = torch.randn(1, 9 * FRAMES, config.dim)
encoded, row = {}, torch.tensor([0])
for backend in ("segments", "paged"):
    cache = PagedCache(config, rows=1, pages=2, max_tokens=FRAMES, page_tokens=16)
    cache.open(0)
    parts = []
    for step, part in enumerate(frames.split(FRAMES, dim=1)):
        cache.grow(0, FRAMES * (step + 1))
        parts.append(encoder.step(part, StepTokens(row, row + FRAMES * step, cache, backend, queries=FRAMES)))
    encoded[backend] = torch.cat(parts)
torch.testing.assert_close(encoded["paged"], encoded["segments"], atol=1e-5, rtol=1e-5)
"""


def test_the_encoder_with_cuda_kernels_equals_that_without_in_the_interpreter() -> None:
    if find_spec("triton") is None:
        pytest.skip("needs Triton")
    path = os.pathsep.join([str(ROOT), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", BACKENDS],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": path, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]


def tokens_of(model: VoxtralRealtime, samples: NDArray[np.float32]) -> list[int]:
    """One turn of the second of three slots, in a batch of four."""
    slots = ListeningSlots(model, count=3, tokens_per_slot=200)
    step = CapturedStep(AudioBatch(slots, 4), GraphPool(slots.device))
    slots.warm(6, 1, lambda: hear(step, [1], [np.zeros(STEP_SAMPLES, np.float32)]))
    slots.start(1, 6)
    cutter = BlockCutter(6)
    tokens: list[int] = []
    for item in [*cutter.push(samples, 0.0), *cutter.flush(0.0)]:
        if isinstance(item, AudioBlock):
            slots.reserve(1)
            tokens += hear(step, [1], [item.samples])
    return tokens


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_captured_steps_on_a_gpu_equal_those_on_a_cpu(checkpoint: Path, model: VoxtralRealtime, speech: Speech) -> None:
    on_gpu = VoxtralRealtime.load(checkpoint, device=CUDA, dtype=torch.float32)
    assert tokens_of(on_gpu, speech(40, 3)) == tokens_of(model, speech(40, 3))
