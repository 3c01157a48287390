"""Engines on other servers run where neither PyTorch nor any vendor's client is installed."""

import subprocess
import sys
from pathlib import Path

LIGHT = (
    "asr.remote", "asr.vllm", "asr.mistral", "tts.remote", "tts.omni", "tts.mistral", "llm.remote",
)  # fmt: skip
ABSENT = ("torch", "mistralai", "openai", "transformers")


def test_they_load_without_the_large_libraries() -> None:
    block = f"import sys; sys.modules.update(dict.fromkeys({ABSENT}))"
    imports = "; ".join(f"import {module}" for module in LIGHT)
    done = subprocess.run(
        [sys.executable, "-c", f"{block}; {imports}"],
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
