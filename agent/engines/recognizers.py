"""The rows of our own ASR engines."""

from contextlib import AbstractAsyncContextManager
from functools import partial

from agent.checkpoints.memory import ENCODER_BYTES_PER_STREAM, STEPS_PER_S, VOXTRAL_BYTES_PER_TOKEN, device_bytes
from agent.checkpoints.releases import REALTIME
from agent.engines.neural import required_packages, start_neural
from agent.engines.resources import Resources
from agent.engines.spec import EngineSpec, Needs
from asr.config import MistralRealtimeConfig, SphinxConfig, VllmRealtimeConfig, VoxtralRealtimeConfig
from asr.interface import Recognizer


def _start_sphinx(config: SphinxConfig, _: Resources) -> AbstractAsyncContextManager[Recognizer]:
    from asr.sphinx.engine import SphinxRecognizer
    from llm.demo.grammar import training_sentences

    return SphinxRecognizer(config, training_sentences())


def _start_voxtral(config: VoxtralRealtimeConfig, resources: Resources) -> AbstractAsyncContextManager[Recognizer]:
    from asr.voxtral.engine import VoxtralRecognizer

    return start_neural(partial(VoxtralRecognizer, config), config.device, resources)


def _start_vllm(config: VllmRealtimeConfig, resources: Resources) -> AbstractAsyncContextManager[Recognizer]:
    from asr.remote.engine import RemoteRecognizer
    from asr.remote.vllm import VllmRealtime

    return RemoteRecognizer(config, VllmRealtime(config), resources.api_key(config.api_key_env))


def _start_mistral(config: MistralRealtimeConfig, resources: Resources) -> AbstractAsyncContextManager[Recognizer]:
    from asr.remote.engine import RemoteRecognizer
    from asr.remote.mistral import MistralRealtime

    return RemoteRecognizer(config, MistralRealtime(config), resources.required_key(config.api_key_env))


def _voxtral_needs(config: VoxtralRealtimeConfig) -> Needs:
    tokens = config.streams * config.context_s * STEPS_PER_S
    cache_bytes = tokens * VOXTRAL_BYTES_PER_TOKEN + config.streams * ENCODER_BYTES_PER_STREAM
    return Needs(
        packages=required_packages(),
        checkpoint=config.checkpoint,
        device=config.device,
        device_bytes=device_bytes(config.checkpoint, REALTIME, cache_bytes, config.device, config.dtype),
    )


SPHINX = EngineSpec(
    part="asr",
    config=SphinxConfig,
    start=_start_sphinx,
    label=lambda _: "pocketsphinx",
    note="demo vocabulary only",
)
VOXTRAL = EngineSpec(
    part="asr",
    config=VoxtralRealtimeConfig,
    start=_start_voxtral,
    needs=_voxtral_needs,
    model=lambda config: config.checkpoint.expanduser().resolve().name,
    label=lambda config: config.checkpoint.name,
    release=REALTIME,
)
VLLM = EngineSpec(
    part="asr",
    config=VllmRealtimeConfig,
    start=_start_vllm,
    needs=lambda config: Needs(server=config.base_url, api_key_env=config.api_key_env),
    model=lambda config: config.model,
    label=lambda config: config.model,
)
MISTRAL = EngineSpec(
    part="asr",
    config=MistralRealtimeConfig,
    start=_start_mistral,
    needs=lambda config: Needs(server=config.base_url, api_key_env=config.api_key_env),
    model=lambda config: config.model,
    label=lambda config: config.model,
)
