"""Remote synthesizers for a test's server, and what is read from them."""

from typing import Any

import numpy as np
import pytest
from pydantic import SecretStr

from tts.config import MistralSpeechConfig, OmniSpeechConfig
from tts.interface import SynthesisError, Synthesizer
from tts.remote.engine import RemoteSynthesizer
from tts.remote.mistral import MistralSpeech
from tts.remote.omni import OmniSpeech

KEY = SecretStr("sk-very-secret")
FAST = {"retry_limit_s": 0.1}
TEXT = "Hello there."


def omni(server: Any, **settings: Any) -> RemoteSynthesizer:
    config = OmniSpeechConfig.model_validate({"base_url": server.url, **FAST, **settings})
    return RemoteSynthesizer(config, OmniSpeech(config), KEY)


def mistral(server: Any, **settings: Any) -> RemoteSynthesizer:
    config = MistralSpeechConfig.model_validate({"base_url": server.url, **FAST, **settings})
    return RemoteSynthesizer(config, MistralSpeech(config), KEY)


async def speech_of(engine: Synthesizer, text: str = TEXT) -> np.ndarray:
    async with engine.speak(text, voice="neutral_female", language="en") as utterance:
        return np.concatenate([chunk.samples async for chunk in utterance])


async def until_error(engine: Synthesizer) -> tuple[int, SynthesisError]:
    """How many samples came before it, and the error."""
    samples = 0
    with pytest.raises(SynthesisError) as error:
        async with engine.speak(TEXT, voice="neutral_female", language="en") as utterance:
            async for chunk in utterance:
                samples += len(chunk.samples)
    return samples, error.value
