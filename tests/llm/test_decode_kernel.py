"""The Triton kernel against its twin: in Triton's interpreter on a CPU, compiled on a GPU.

Skipped where Triton is not installed. The interpreter reads its switch when Triton is imported, hence the process.
"""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

HERE = Path(__file__)
ROOT = HERE.parents[2]

COMPARISON = """
import sys
import torch
from llm.architecture import DecoderConfig
from llm.attention import Segment, attend_segments
from llm.cache import PagedCache
from llm import decode_kernel
from llm.decode_kernel import attend_paged

decode_kernel.PROGRAMS = 32  # 2 to 4 splits: of a short row some have no page
device, dtype, tolerance = sys.argv[1], getattr(torch, sys.argv[2]), float(sys.argv[3])
torch.manual_seed(0)
for window, heads, kv_heads in ((None, 8, 2), (21, 4, 4), (None, 64, 2)):
    config = DecoderConfig(
        dim=32, n_layers=1, n_heads=heads, n_kv_heads=kv_heads, head_dim=16, hidden_dim=8, vocab_size=8,
        rope_theta=1e4, head="none", window=window,
    )
    cache = PagedCache(
        config, rows=3, pages=20, max_tokens=90 if window is None else 1, page_tokens=16, device=device, dtype=dtype
    )
    cache.keys.normal_()
    cache.values.normal_()
    lengths = (1, 37, 90)
    for row, length in enumerate(lengths):
        cache.open(row)
        cache.grow(row, length)
        if window is None and length % 16:  # what a failed stream left behind this one's end
            page = int(cache.tables[row, (length - 1) // 16])
            cache.values[:, page, length % 16 :] = float("nan")
    rows = torch.tensor([*range(3), cache.rows], device=device)
    positions = torch.tensor([*(length - 1 for length in lengths), 0], device=device)
    q = torch.randn(4, heads, 16, device=device).to(dtype)

    found = attend_paged(cache, rows, positions)(q, cache.keys[0], cache.values[0])

    parts = [Segment(row, length - 1, 1) for row, length in enumerate(lengths)]
    expected = attend_segments(cache, parts)(q[:3], cache.keys[0], cache.values[0])
    torch.testing.assert_close(found[:3], expected, atol=tolerance, rtol=tolerance)
    assert found.isfinite().all()
"""


def compare(device: str, dtype: str, tolerance: str, **environment: str) -> None:
    if find_spec("triton") is None:
        pytest.skip("needs Triton")
    done = subprocess.run(
        [sys.executable, "-c", COMPARISON, device, dtype, tolerance],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])} | environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_interpreted_kernel_equals_its_twin() -> None:
    compare("cpu", "float32", "1e-5", TRITON_INTERPRET="1")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", "1e-5"), ("bfloat16", "2e-2")])
def test_compiled_kernel_equals_its_twin(dtype: str, tolerance: str) -> None:
    compare("cuda", dtype, tolerance)
