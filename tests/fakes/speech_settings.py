"""Settings of the tiny speech engine."""

from tests.fakes.speech_bench import GOLDEN
from tts.config import VoxtralTTSConfig


def config(**changes: object) -> VoxtralTTSConfig:
    settings = {"checkpoint": GOLDEN, "device": "cpu", "dtype": "float32", "slots": 4, "seed": 7, "max_seconds": 0.8}
    return VoxtralTTSConfig.model_validate({**settings, **changes})
