"""The Triton kernels against their twins, in Triton's interpreter on a CPU and on a GPU; their code for GPUs.

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
ROOT = HERE.parents[4]

ATTENTION = """
import sys
import torch
from llm.runtime.architecture import DecoderConfig
from llm.runtime.attention import Segment, attend_segments
from llm.runtime.cache import PagedCache
from llm.runtime.kernels import paged_attention as decode_kernel
from llm.runtime.kernels.paged_attention import attend_paged

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
from llm.runtime.attention import write_kv
from llm.runtime.layers import rotary_frequencies, rotation
from llm.runtime.kernels.rotary import write_kv_fused

device, dtype, tolerance = sys.argv[1], getattr(torch, sys.argv[2]), float(sys.argv[3])
torch.manual_seed(0)
for head_dim in (16, 24):
    rotary = rotation(torch.tensor([3, 70_000, 0], device=device), rotary_frequencies(head_dim, 1e4).to(device))
    slot_mapping = torch.tensor([40, 7, 0], device=device)
    q, k, v = torch.randn(3, 8, head_dim, device=device).to(dtype).split([4, 2, 2], dim=1)
    pages = torch.zeros(2, 2, 3, 16, 2, head_dim, device=device, dtype=dtype)
    found, expected = (
        write(rotary, rotary * 1.3, slot_mapping)(q, k, v, *pages[way])
        for way, write in enumerate((write_kv_fused, write_kv))
    )
    torch.testing.assert_close(found, expected, atol=tolerance, rtol=tolerance)
    torch.testing.assert_close(pages[0], pages[1], atol=tolerance, rtol=tolerance)
    assert pages[0].any()
"""


MACHINE_CODE = """
import sys
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile
from llm.runtime.kernels.paged_attention import _attend_part, _join_parts
from llm.runtime.kernels.rotary import _rotate_and_write

numbers = "*" + sys.argv[2]
types = dict.fromkeys(("q", "k", "v", "keys", "values", "out"), numbers)
types |= dict.fromkeys(("tables", "rows", "positions", "slot_mapping"), "*i64")
types |= dict.fromkeys(("peaks", "totals", "mixed", "rotary", "query_rotary"), "*fp32")
types |= {"scale": "fp32", "columns": "i32", "window": "i64", "q_row": "i32", "kv_row": "i32"}
decoding = {"Q": 1, "KV": 8, "G": 4, "PADDED": 16, "HD": 128, "WIDTH": 128, "PAGE": 32, "SPLITS": 8}
encoding = {"Q": 4, "KV": 32, "G": 1, "PADDED": 16, "HD": 64, "WIDTH": 64, "PAGE": 32, "SPLITS": 2}
for kernel, sizes in (
    (_attend_part, decoding), (_attend_part, encoding), (_join_parts, decoding), (_join_parts, encoding),
    (_rotate_and_write, {"H": 32, "KV": 8, "HD": 128, "WIDTH": 128}),
):
    names = kernel.arg_names
    signature = {name: "constexpr" if name in sizes else types[name] for name in names}
    source = ASTSource(kernel, signature, {(names.index(name),): size for name, size in sizes.items() if name in names})
    compiled = compile(source, target=GPUTarget("cuda", int(sys.argv[3]), 32))
    assert compiled.asm["cubin"], kernel
"""


def run(script: str, *arguments: str, **environment: str) -> None:
    if find_spec("triton") is None:
        pytest.skip("needs Triton")
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
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
    run(script, "cpu", "float32", "1e-5", TRITON_INTERPRET="1")


@pytest.mark.parametrize("dtype", ["bf16", "fp32"])
@pytest.mark.parametrize("architecture", [80, 90], ids=["A100", "H100"])
def test_kernels_become_machine_code_at_the_released_sizes(dtype: str, architecture: int, tmp_path: Path) -> None:
    run(MACHINE_CODE, "cuda", dtype, str(architecture), TRITON_CACHE_DIR=str(tmp_path))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("script", [ATTENTION, ROTATION], ids=["attention", "rotation"])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", "1e-5"), ("bfloat16", "2e-2")])
def test_compiled_kernel_equals_its_twin(script: str, dtype: str, tolerance: str) -> None:
    run(script, "cuda", dtype, tolerance)
