"""Remote language models of either dialect."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from llm.interface import (
    LanguageModel,
)
from tests.fakes.chat_clients import chat, mistral

Make = Callable[..., Any]


@pytest.fixture(params=[chat, mistral], ids=lambda make: make.__name__)
def make(request: pytest.FixtureRequest) -> Make:
    return request.param


@pytest.fixture
async def engine(make: Make, chat_server: Any) -> AsyncIterator[LanguageModel]:
    async with make(chat_server) as engine:
        yield engine
