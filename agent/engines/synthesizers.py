"""The rows of our own TTS engines."""

from contextlib import AbstractAsyncContextManager
from functools import partial

from agent.checkpoints.memory import VOXTRAL_BYTES_PER_TOKEN, device_bytes
from agent.checkpoints.releases import TTS
from agent.engines.neural import required_packages, start_neural
from agent.engines.resources import Resources
from agent.engines.spec import EngineSpec, Needs
from tts.config import EspeakConfig, MistralSpeechConfig, OmniSpeechConfig, VoxtralTTSConfig
from tts.interface import Synthesizer


def _start_espeak(config: EspeakConfig, _: Resources) -> AbstractAsyncContextManager[Synthesizer]:
    from tts.espeak.engine import EspeakSynthesizer

    return EspeakSynthesizer(config)


def _start_voxtral(config: VoxtralTTSConfig, resources: Resources) -> AbstractAsyncContextManager[Synthesizer]:
    from tts.voxtral.engine import VoxtralSynthesizer

    return start_neural(partial(VoxtralSynthesizer, config), config.device, resources)


def _start_omni(config: OmniSpeechConfig, resources: Resources) -> AbstractAsyncContextManager[Synthesizer]:
    from tts.remote.engine import RemoteSynthesizer
    from tts.remote.omni import OmniSpeech

    return RemoteSynthesizer(config, OmniSpeech(config), resources.api_key(config.api_key_env))


def _start_mistral(config: MistralSpeechConfig, resources: Resources) -> AbstractAsyncContextManager[Synthesizer]:
    from tts.remote.engine import RemoteSynthesizer
    from tts.remote.mistral import MistralSpeech

    return RemoteSynthesizer(config, MistralSpeech(config), resources.required_key(config.api_key_env))


def _voxtral_needs(config: VoxtralTTSConfig) -> Needs:
    cache_bytes = config.slots * config.cache_tokens_per_slot * VOXTRAL_BYTES_PER_TOKEN
    return Needs(
        packages=required_packages(config.quantization),
        checkpoint=config.checkpoint,
        device=config.device,
        device_bytes=device_bytes(config.checkpoint, TTS, cache_bytes, config.device, config.dtype),
    )


ESPEAK = EngineSpec(part="tts", config=EspeakConfig, start=_start_espeak, label=lambda _: "eSpeak NG")
VOXTRAL = EngineSpec(
    part="tts",
    config=VoxtralTTSConfig,
    start=_start_voxtral,
    needs=_voxtral_needs,
    model=lambda config: config.checkpoint.expanduser().resolve().name,
    label=lambda config: config.checkpoint.name,
    release=TTS,
)
OMNI = EngineSpec(
    part="tts",
    config=OmniSpeechConfig,
    start=_start_omni,
    needs=lambda config: Needs(server=config.base_url, api_key_env=config.api_key_env),
    model=lambda config: config.model or config.kind,
    label=lambda config: config.model or config.kind,
)
MISTRAL = EngineSpec(
    part="tts",
    config=MistralSpeechConfig,
    start=_start_mistral,
    needs=lambda config: Needs(server=config.base_url, api_key_env=config.api_key_env),
    model=lambda config: config.model,
    label=lambda config: config.model,
)
