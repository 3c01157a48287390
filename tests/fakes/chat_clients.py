"""Remote language models for a test's server, and what is read from them."""

from typing import Any

import pytest
from pydantic import SecretStr

from llm.config import ChatConfig, MistralChatConfig
from llm.interface import (
    LanguageModel,
    LanguageModelError,
    Message,
)
from llm.remote.chat_completions import ChatModel
from llm.remote.mistral import MistralChat

HELLO = [Message("system", "Be brief."), Message("user", "Hello.")]
KEY = SecretStr("sk-very-secret")
FAST = {"retry_limit_s": 0.1, "model": "m"}


def chat(server: Any, **settings: Any) -> ChatModel:
    return ChatModel(ChatConfig.model_validate({"base_url": server.url, **FAST, **settings}), KEY)


def mistral(server: Any, **settings: Any) -> MistralChat:
    return MistralChat(MistralChatConfig.model_validate({"base_url": server.url, **FAST, **settings}), KEY)


async def pieces_of(engine: LanguageModel, messages: list[Message] = HELLO, tools: Any = ()) -> list[Any]:
    async with engine.reply(messages, tools) as reply:
        return [piece async for piece in reply]


async def until_error(engine: LanguageModel) -> tuple[list[Any], LanguageModelError]:
    """The pieces before it, and the error."""
    pieces: list[Any] = []
    with pytest.raises(LanguageModelError) as error:
        async with engine.reply(HELLO) as reply:
            async for piece in reply:
                pieces.append(piece)  # noqa: PERF401  # they are wanted although it fails
    return pieces, error.value
