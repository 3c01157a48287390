"""The Triton kernels against their twins: in Triton's interpreter on a CPU, compiled on a GPU.

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

ATTENTION = """
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
for window, heads, kv_heads, head_dim, queries in (
    (None, 8, 2, 16, 1), (21, 4, 4, 8, 1), (None, 64, 2, 24, 1), (21, 4, 4, 8, 4), (None, 12, 2, 16, 3),
):
    config = DecoderConfig(
        dim=32, n_layers=1, n_heads=heads, n_kv_heads=kv_heads, head_dim=head_dim, hidden_dim=8, vocab_size=8,
        rope_theta=1e4, head="none", window=window,
    )
    cache = PagedCache(
        config, rows=3, pages=20, max_tokens=90 if window is None else queries, page_tokens=16,
        device=device, dtype=dtype,
    )
    cache.keys.normal_()
    cache.values.normal_()
    lengths = (queries, 37, 90)
    for row, length in enumerate(lengths):
        cache.open(row)
        cache.grow(row, length)
        if window is None and length % 16:  # what a failed stream left behind this one's end
            page = int(cache.tables[row, (length - 1) // 16])
            cache.values[:, page, length % 16 :] = float("nan")
    rows = torch.tensor([*range(3), cache.rows], device=device)
    positions = torch.tensor([*(length - queries for length in lengths), 0], device=device)
    q = torch.randn(4 * queries, heads, head_dim, device=device).to(dtype)

    found = attend_paged(cache, rows, positions, queries)(q, cache.keys[0], cache.values[0])

    parts = [Segment(row, length - queries, queries) for row, length in enumerate(lengths)]
    expected = attend_segments(cache, parts)(q[: 3 * queries], cache.keys[0], cache.values[0])
    torch.testing.assert_close(found[: 3 * queries], expected, atol=tolerance, rtol=tolerance)
    assert found.isfinite().all()
"""

ROTATION = """
import sys
import torch
from llm.attention import store_turned
from llm.layers import rotary_frequencies, rotation
from llm.rotary_kernel import store_turned_fused

device, dtype, tolerance = sys.argv[1], getattr(torch, sys.argv[2]), float(sys.argv[3])
torch.manual_seed(0)
for head_dim in (16, 24):
    turn = rotation(torch.tensor([3, 70_000, 0], device=device), rotary_frequencies(head_dim, 1e4).to(device))
    places = torch.tensor([40, 7, 0], device=device)
    q, k, v = torch.randn(3, 8, head_dim, device=device).to(dtype).split([4, 2, 2], dim=1)
    pages = torch.zeros(2, 2, 3, 16, 2, head_dim, device=device, dtype=dtype)
    found, expected = (
        store(turn, turn * 1.3, places)(q, k, v, *pages[way])
        for way, store in enumerate((store_turned_fused, store_turned))
    )
    torch.testing.assert_close(found, expected, atol=tolerance, rtol=tolerance)
    torch.testing.assert_close(pages[0], pages[1], atol=tolerance, rtol=tolerance)
    assert pages[0].any()
"""


def compare(script: str, device: str, dtype: str, tolerance: str, **environment: str) -> None:
    if find_spec("triton") is None:
        pytest.skip("needs Triton")
    done = subprocess.run(
        [sys.executable, "-c", script, device, dtype, tolerance],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])} | environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("script", [ATTENTION, ROTATION], ids=["attention", "rotation"])
def test_interpreted_kernel_equals_its_twin(script: str) -> None:
    compare(script, "cpu", "float32", "1e-5", TRITON_INTERPRET="1")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("script", [ATTENTION, ROTATION], ids=["attention", "rotation"])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", "1e-5"), ("bfloat16", "2e-2")])
def test_compiled_kernel_equals_its_twin(script: str, dtype: str, tolerance: str) -> None:
    compare(script, "cuda", dtype, tolerance)
