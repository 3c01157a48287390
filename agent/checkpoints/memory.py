"""How much device memory the engines of our own take: weights as they lie on the disk, and the caches of the settings.

Bytes for each position are those of the released models in bf16: layers * 2 * key-value heads * head size * 2 bytes
(their params.json); the encoder of Voxtral Realtime keeps a window of 750.
"""

from collections.abc import Iterator
from pathlib import Path

from agent.settings.config import Settings
from agent.settings.profiles import CHECKPOINTS
from asr.config import RecognizerConfig, VoxtralRealtimeConfig
from llm.config import LanguageModelConfig, MinistralConfig
from tts.config import SynthesizerConfig, VoxtralTTSConfig

VOXTRAL_BYTES_PER_TOKEN = 26 * 2 * 8 * 128 * 2
MINISTRAL_BYTES_PER_TOKEN = 34 * 2 * 8 * 128 * 2  # of the 8B model
ENCODER_BYTES_PER_STREAM = 750 * 32 * 2 * 32 * 64 * 2
STEPS_PER_S = 12.5
WORKING_BYTES = 1_500_000_000  # CUDA itself, graphs and activations of an engine
_FLOAT32_FACTOR = 2

EngineConfig = RecognizerConfig | LanguageModelConfig | SynthesizerConfig


def engines_of(settings: Settings) -> Iterator[tuple[str, EngineConfig]]:
    """Every engine that these settings start, with the part it plays: the chosen ones, then those that take over."""
    yield "asr", settings.asr
    yield "llm", settings.llm
    yield "tts", settings.tts
    yield from (("asr", config) for config in settings.fallback.asr)
    yield from (("llm", config) for config in settings.fallback.llm)
    yield from (("tts", config) for config in settings.fallback.tts)


def device_bytes(part: str, config: EngineConfig) -> int:
    """Memory that this engine takes on its CUDA device, about; 0 for one that needs none."""
    match config:
        case VoxtralRealtimeConfig():
            tokens = config.streams * config.context_s * STEPS_PER_S
            cache = tokens * VOXTRAL_BYTES_PER_TOKEN + config.streams * ENCODER_BYTES_PER_STREAM
        case MinistralConfig():
            cache = config.cache_tokens * MINISTRAL_BYTES_PER_TOKEN
        case VoxtralTTSConfig():
            cache = config.slots * config.cache_tokens_per_slot * VOXTRAL_BYTES_PER_TOKEN
        case _:
            return 0
    if config.device == "cpu":
        return 0
    factor = _FLOAT32_FACTOR if config.dtype == "float32" else 1
    return int(factor * (_weights(part, config.kind, config.checkpoint) + cache)) + WORKING_BYTES


def _weights(part: str, kind: str, checkpoint: Path) -> int:
    """Of the files if they are there; of the release if not."""
    there = sum(file.stat().st_size for file in checkpoint.glob("*.safetensors"))
    return there or CHECKPOINTS[part, kind].weight_bytes
