"""Engines run where only their own libraries are installed: remote ones without PyTorch, neural ones with it alone."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

REMOTE = (
    "asr.remote.engine", "asr.remote.vllm", "asr.remote.mistral",
    "tts.remote.engine", "tts.remote.omni", "tts.remote.mistral",
    "llm.remote.chat_completions",
)  # fmt: skip
LARGE = ("torch", "mistralai", "openai", "transformers")

ON_A_GPU = ("asr.voxtral.engine", "tts.voxtral.engine", "benchmarks.engines.gpu", "benchmarks.engines.gpu_asr")
BESIDE_TORCH = (
    "aiohttp", "aiortc", "av", "huggingface_hub", "itsdangerous", "loguru", "mcp", "mistral_common", "mistralai",
    "onnxruntime", "openai", "pipecat", "pocketsphinx", "prometheus_client", "pydantic", "sounddevice", "soxr",
    "tiktoken", "transformers",
)  # fmt: skip

A_CALL = ("agent.cli", "agent.serving.server", "agent.engines.open", "pipelines.call")
LEFT_OUT = ("numba", "llvmlite", "resampy")  # of requirements.txt


def load(modules: Sequence[str], absent: Sequence[str]) -> None:
    block = f"import sys; sys.modules.update(dict.fromkeys({absent}))"
    imports = "; ".join(f"import {module}" for module in modules)
    done = subprocess.run(
        [sys.executable, "-c", f"{block}; {imports}"],
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_remote_engines_load_without_the_large_libraries() -> None:
    load(REMOTE, LARGE)


def test_what_runs_on_a_gpu_loads_with_torch_numpy_and_safetensors_alone() -> None:
    load(ON_A_GPU, BESIDE_TORCH)


def test_a_call_loads_without_what_is_left_out_of_the_requirements() -> None:
    load(A_CALL, LEFT_OUT)
