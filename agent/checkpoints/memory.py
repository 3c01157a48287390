"""How much device memory an engine of our own takes: its weights as they lie on the disk, and its caches.

Bytes for each position are those of the released models in bf16: layers * 2 * key-value heads * head size * 2 bytes
(their params.json); the encoder of Voxtral Realtime keeps a window of 750.
"""

from pathlib import Path

from agent.checkpoints.releases import CheckpointRelease

VOXTRAL_BYTES_PER_TOKEN = 26 * 2 * 8 * 128 * 2
MINISTRAL_BYTES_PER_TOKEN = 34 * 2 * 8 * 128 * 2  # of the 8B model
ENCODER_BYTES_PER_STREAM = 750 * 32 * 2 * 32 * 64 * 2
STEPS_PER_S = 12.5
WORKING_BYTES = 1_500_000_000  # CUDA itself, graphs and activations of an engine
_FLOAT32_FACTOR = 2


def device_bytes(checkpoint: Path, release: CheckpointRelease, cache_bytes: float, device: str, dtype: str) -> int:
    """Memory that an engine takes on its CUDA device, about; 0 for one on the CPU.

    Args:
        checkpoint: folder of the weights; their size is the release's if none are there.
        release: what is usually in it.
        cache_bytes: all caches of its settings, in bf16.
        device: cpu, cuda or cuda:1.
        dtype: bfloat16 or float32.
    """
    if device == "cpu":
        return 0
    there = sum(file.stat().st_size for file in checkpoint.glob("*.safetensors"))
    factor = _FLOAT32_FACTOR if dtype == "float32" else 1
    return int(factor * ((there or release.weight_bytes) + cache_bytes)) + WORKING_BYTES
