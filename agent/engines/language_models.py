"""The rows of our own LLM engines."""

from contextlib import AbstractAsyncContextManager, nullcontext
from functools import partial
from urllib.parse import urlsplit

from agent.checkpoints.memory import MINISTRAL_BYTES_PER_TOKEN, device_bytes
from agent.checkpoints.releases import MINISTRAL_8B
from agent.engines.neural import required_packages, start_neural
from agent.engines.resources import Resources
from agent.engines.spec import EngineSpec, Needs
from llm.config import ChatConfig, DemoConfig, MinistralConfig, MistralChatConfig
from llm.interface import LanguageModel


def _start_demo(config: DemoConfig, _: Resources) -> AbstractAsyncContextManager[LanguageModel]:
    from llm.demo.model import DemoModel

    return nullcontext(DemoModel(config))


def _start_chat(config: ChatConfig, resources: Resources) -> AbstractAsyncContextManager[LanguageModel]:
    from llm.remote.chat_completions import ChatModel

    return ChatModel(config, resources.api_key(config.api_key_env))


def _start_mistral(config: MistralChatConfig, resources: Resources) -> AbstractAsyncContextManager[LanguageModel]:
    from llm.remote.mistral import MistralChat

    return MistralChat(config, resources.required_key(config.api_key_env))


def _start_ministral(config: MinistralConfig, resources: Resources) -> AbstractAsyncContextManager[LanguageModel]:
    from llm.ministral.engine import MinistralLanguageModel

    return start_neural(partial(MinistralLanguageModel, config), config.device, resources)


def _ministral_needs(config: MinistralConfig) -> Needs:
    cache_bytes = config.cache_tokens * MINISTRAL_BYTES_PER_TOKEN
    return Needs(
        packages=required_packages(config.quantization),
        checkpoint=config.checkpoint,
        device=config.device,
        device_bytes=device_bytes(config.checkpoint, MINISTRAL_8B, cache_bytes, config.device, config.dtype),
    )


DEMO = EngineSpec(
    part="llm",
    config=DemoConfig,
    start=_start_demo,
    label=lambda _: "Demo model: scripted",
    suggestions=(
        "What time is it?",
        "What is twelve times seven?",
        "Tell me a story.",
        "Book a table for tomorrow.",
        "Count to twenty.",
    ),
)
CHAT = EngineSpec(
    part="llm",
    config=ChatConfig,
    start=_start_chat,
    needs=lambda config: Needs(server=config.base_url, api_key_env=config.api_key_env),
    model=lambda config: config.model,
    label=lambda config: f"{config.model} on {urlsplit(config.base_url).hostname}",
)
MISTRAL = EngineSpec(
    part="llm",
    config=MistralChatConfig,
    start=_start_mistral,
    needs=lambda config: Needs(
        packages={"mistralai": "mistral"}, server=config.base_url, api_key_env=config.api_key_env
    ),
    model=lambda config: config.model,
    label=lambda config: f"{config.model} in Mistral's cloud",
)
MINISTRAL = EngineSpec(
    part="llm",
    config=MinistralConfig,
    start=_start_ministral,
    needs=_ministral_needs,
    model=lambda config: config.checkpoint.expanduser().resolve().name,
    label=lambda config: config.checkpoint.name,
    release=MINISTRAL_8B,
)
