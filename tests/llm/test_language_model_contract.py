"""What `llm.interface` promises, proved for every engine."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from llm.config import DemoConfig
from llm.demo import DemoMind
from llm.interface import ContextTooLong, LanguageModel, Message, TextDelta, Tool, ToolCall

TIME = Tool("current_time", "The time now.", {"type": "object", "properties": {"zone": {"type": "string"}}})
ASKS_FOR_WORDS = (Message("system", "Be kind."), Message("user", "Hello there!"))
ASKS_FOR_A_TOOL = (Message("user", "What time is it?"),)
TOO_MANY = (Message("user", "Hello."), Message("assistant", "Hello.")) * 5000


@asynccontextmanager
async def demo() -> AsyncIterator[LanguageModel]:
    yield DemoMind(DemoConfig())


Open = Callable[[], AbstractAsyncContextManager[LanguageModel]]


@pytest.fixture(params=[demo], ids=lambda engine: engine.__name__)
async def engine(request: pytest.FixtureRequest) -> AsyncIterator[LanguageModel]:
    open_engine: Open = request.param
    async with open_engine() as engine:
        yield engine


async def pieces_of(
    engine: LanguageModel, messages: Sequence[Message], tools: Sequence[Tool] = ()
) -> list[TextDelta | ToolCall]:
    async with engine.reply(messages, tools) as reply:
        return [piece async for piece in reply]


def text_of(pieces: Sequence[TextDelta | ToolCall]) -> str:
    return "".join(piece.text for piece in pieces if isinstance(piece, TextDelta))


async def test_replies_in_several_pieces_of_text(engine: LanguageModel) -> None:
    pieces = await pieces_of(engine, ASKS_FOR_WORDS)
    assert len(pieces) > 1
    assert all(isinstance(piece, TextDelta) and piece.text for piece in pieces)
    assert text_of(pieces) == text_of(pieces).strip()


async def test_asks_for_a_tool_that_is_offered(engine: LanguageModel) -> None:
    pieces = await pieces_of(engine, ASKS_FOR_A_TOOL, [TIME])
    calls = [piece for piece in pieces if isinstance(piece, ToolCall)]
    assert pieces[-len(calls) :] == calls  # after all text
    assert [call.name for call in calls] == ["current_time"]
    assert isinstance(json.loads(calls[0].arguments), dict)
    assert calls[0].id


async def test_asks_for_no_tool_that_is_not_offered(engine: LanguageModel) -> None:
    pieces = await pieces_of(engine, ASKS_FOR_A_TOOL)
    assert not [piece for piece in pieces if isinstance(piece, ToolCall)]
    assert text_of(pieces)


async def test_replies_to_what_the_tool_found(engine: LanguageModel) -> None:
    (call,) = [piece for piece in await pieces_of(engine, ASKS_FOR_A_TOOL, [TIME]) if isinstance(piece, ToolCall)]
    result = json.dumps({"time": "09:00", "date": "2031-05-17", "weekday": "Saturday", "zone": "UTC"})
    found = (*ASKS_FOR_A_TOOL, Message("assistant", "", (call,)), Message("tool", result, tool_call_id=call.id))
    pieces = await pieces_of(engine, found, [TIME])
    assert "nine" in text_of(pieces)
    assert not [piece for piece in pieces if isinstance(piece, ToolCall)]


async def test_cancelled_delivers_nothing_more(engine: LanguageModel) -> None:
    async with engine.reply(ASKS_FOR_WORDS) as reply:
        await anext(reply)
        reply.cancel()
        reply.cancel()
        assert [piece async for piece in reply] == []


async def test_left_early_leaves_nothing_behind(engine: LanguageModel) -> None:
    tasks = len(asyncio.all_tasks())
    for _ in range(100):
        async with engine.reply(ASKS_FOR_WORDS) as reply:
            await anext(reply)
    assert len(asyncio.all_tasks()) == tasks


async def test_replies_at_once_do_not_mix(engine: LanguageModel) -> None:
    alone = [await pieces_of(engine, messages, [TIME]) for messages in (ASKS_FOR_WORDS, ASKS_FOR_A_TOOL)]
    async with asyncio.TaskGroup() as tasks:
        together = [
            tasks.create_task(pieces_of(engine, messages, [TIME])) for messages in (ASKS_FOR_WORDS, ASKS_FOR_A_TOOL)
        ]
    assert [reply.result() for reply in together] == alone


async def test_a_conversation_beyond_the_context_is_refused(engine: LanguageModel) -> None:
    with pytest.raises(ContextTooLong, match="10000"):
        await pieces_of(engine, TOO_MANY)
