"""What `llm.interface` promises, proved for every language model; ours has learnt the demo model's answers by heart."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from llm.config import ChatConfig, DemoConfig, MinistralConfig, MistralChatConfig
from llm.demo.model import DemoModel
from llm.interface import EngineUnreachable, LanguageModel, Message, TextDelta, Tool, ToolCall
from llm.ministral.engine import MinistralLanguageModel
from llm.remote.chat_completions import ChatModel
from llm.remote.mistral import MistralChat
from llm.runtime.loop.step_loop import StepLoop

STORY = [Message("user", "Tell me a story.")]
TIME = [Message("user", "What time is it?")]
CLOCK = Tool("current_time", "The time.", {"type": "object", "properties": {}})
KEY = SecretStr("a-key")

Open = Callable[[], AbstractAsyncContextManager[LanguageModel]]


@pytest.fixture(params=["demo", "chat", "mistral", "ministral"])
def open_engine(request: pytest.FixtureRequest, chat_server: Any, ministral_by_heart: Path) -> Open:
    @asynccontextmanager
    async def demo() -> AsyncIterator[LanguageModel]:
        yield DemoModel(DemoConfig())

    @asynccontextmanager
    async def ministral() -> AsyncIterator[LanguageModel]:
        config = MinistralConfig(
            checkpoint=ministral_by_heart, device="cpu", dtype="float32", temperature=0.0, slots=4, context_tokens=1024
        )
        async with StepLoop("cpu") as loop, MinistralLanguageModel(config, loop) as engine:
            yield engine

    engines: dict[str, Open] = {
        "demo": demo,
        "ministral": ministral,
        "chat": lambda: ChatModel(ChatConfig(base_url=chat_server.url, model="demo"), KEY),
        "mistral": lambda: MistralChat(MistralChatConfig(base_url=chat_server.url, model="demo"), KEY),
    }
    return engines[request.param]


@pytest.fixture
async def engine(open_engine: Open) -> AsyncIterator[LanguageModel]:
    async with open_engine() as engine:
        yield engine


async def pieces_of(engine: LanguageModel, messages: list[Message], tools: list[Tool] | None = None) -> list[Any]:
    async with engine.reply(messages, tools or []) as reply:
        return [piece async for piece in reply]


async def text_of(engine: LanguageModel, messages: list[Message]) -> str:
    return "".join(piece.text for piece in await pieces_of(engine, messages))


async def test_a_reply_is_text_in_pieces(engine: LanguageModel) -> None:
    pieces = await pieces_of(engine, STORY)
    assert len(pieces) > 5
    assert all(isinstance(piece, TextDelta) and piece.text for piece in pieces)
    assert "".join(piece.text for piece in pieces) == await text_of(DemoModel(DemoConfig()), STORY)


async def test_tool_calls_come_last_and_whole(engine: LanguageModel) -> None:
    pieces = await pieces_of(engine, TIME, [CLOCK])
    calls = [piece for piece in pieces if isinstance(piece, ToolCall)]
    assert [call.name for call in calls] == ["current_time"]
    assert pieces[-1] is calls[0]
    assert isinstance(json.loads(calls[0].arguments), dict)


async def test_the_answer_to_a_tool_is_understood(engine: LanguageModel) -> None:
    call = (await pieces_of(engine, TIME, [CLOCK]))[-1]
    result = json.dumps({"time": "2026-01-02T15:04:00+00:00", "timezone": "UTC"})
    asked = [*TIME, Message("assistant", "", (call,)), Message("tool", result, tool_call_id=call.id)]
    assert await text_of(engine, asked)


async def test_cancelled_delivers_nothing_more(engine: LanguageModel) -> None:
    async with engine.reply(STORY) as reply:
        await anext(reply)
        reply.cancel()
        reply.cancel()
        assert [piece async for piece in reply] == []


async def test_cancelled_before_it_is_entered_says_nothing(engine: LanguageModel) -> None:
    reply = engine.reply(STORY)
    reply.cancel()
    async with reply:
        assert [piece async for piece in reply] == []


async def test_together_equals_alone(engine: LanguageModel) -> None:
    asked = [STORY, [Message("user", "Count to twenty.")], [Message("user", "What is twelve times seven?")]]
    alone = [await text_of(engine, messages) for messages in asked]
    async with asyncio.TaskGroup() as tasks:
        together = [tasks.create_task(text_of(engine, messages)) for messages in asked]
    assert [task.result() for task in together] == alone


async def test_leaving_early_frees_what_was_taken(engine: LanguageModel) -> None:
    await text_of(engine, STORY)
    tasks = asyncio.all_tasks()
    for _ in range(50):
        async with engine.reply(STORY) as reply:
            await anext(reply)
    for _ in range(20):  # the event loop closes what generators a client library left open
        await asyncio.sleep(0)
    left = asyncio.all_tasks() - tasks
    assert not [task for task in left if "RequestHandler" not in repr(task)]  # of the test's own server


async def test_a_stopped_engine_is_unreachable(open_engine: Open, request: pytest.FixtureRequest) -> None:
    async with open_engine() as engine:
        pass
    if isinstance(engine, DemoModel):
        assert await text_of(engine, STORY)  # a function of its messages, which nothing can stop
        return
    with pytest.raises(EngineUnreachable, match="stopped"):
        await text_of(engine, STORY)
