"""Our language engine: batching, prefix reuse, cancelling in one step, refusals and failures."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from llm.config import MinistralConfig
from llm.interface import (
    ContextTooLong,
    Ending,
    EngineBusy,
    EngineUnreachable,
    LanguageModelError,
    Message,
    Sampling,
    TextDelta,
    Tool,
    ToolCall,
)
from llm.ministral.engine import MinistralLanguageModel
from llm.ministral.model import Ministral
from llm.ministral.token_step import TokenBatch
from llm.runtime.loop.step_loop import StepLoop

COUNT = (Message("user", "Count to twenty."),)
STORY = (Message("user", "Tell me a story."),)
SUM = (Message("user", "What is twelve times seven?"),)
TIME = (Message("user", "What time is it?"),)
CLOCK = Tool("current_time", "The time.", {"type": "object", "properties": {}})

Open = Callable[..., AbstractAsyncContextManager[MinistralLanguageModel]]


@pytest.fixture(scope="module")
def model(ministral_by_heart: Path) -> Ministral:
    return Ministral.load(ministral_by_heart, device=torch.device("cpu"), dtype=torch.float32)


@pytest.fixture
def open_engine(ministral_by_heart: Path, model: Ministral) -> Open:
    @asynccontextmanager
    async def open_engine(**settings: Any) -> AsyncIterator[MinistralLanguageModel]:
        defaults = {"slots": 4, "context_tokens": 1024, "reply_tokens": 450, "cache_tokens": 4096, "temperature": 0.0}
        config = MinistralConfig(checkpoint=ministral_by_heart, device="cpu", dtype="float32", **(defaults | settings))
        async with StepLoop("cpu") as loop, MinistralLanguageModel(config, loop, model) as engine:
            yield engine

    return open_engine


async def pieces_of(
    engine: MinistralLanguageModel, messages: Sequence[Message], tools: Sequence[Tool] = ()
) -> list[TextDelta | ToolCall]:
    async with engine.reply(messages, tools) as reply:
        return [piece async for piece in reply]


async def text_of(engine: MinistralLanguageModel, messages: Sequence[Message]) -> str:
    return "".join(piece.text for piece in await pieces_of(engine, messages) if isinstance(piece, TextDelta))


async def test_the_checkpoint_of_the_settings_is_loaded(ministral_by_heart: Path) -> None:
    config = MinistralConfig(
        checkpoint=ministral_by_heart, device="cpu", dtype="float32", context_tokens=1024, cache_tokens=1024
    )
    async with StepLoop("cpu") as loop, MinistralLanguageModel(config, loop) as engine:
        assert "84" in await text_of(engine, SUM) or "eighty-four" in await text_of(engine, SUM)


async def test_replies_join_and_leave_a_batch_and_say_the_same(open_engine: Open) -> None:
    async with open_engine() as engine:
        alone = [await text_of(engine, messages) for messages in (STORY, COUNT, SUM)]
        steps = engine.counters.decodes
    async with open_engine() as engine:
        async with asyncio.TaskGroup() as tasks:
            together = [tasks.create_task(text_of(engine, messages)) for messages in (STORY, COUNT, SUM)]
        assert [task.result() for task in together] == alone
        assert engine.counters.decodes < steps


async def test_a_turn_reads_only_what_is_new(open_engine: Open) -> None:
    instructions = Message("system", "Speak briefly and kindly. " * 20)
    async with open_engine(reply_tokens=20) as engine:
        answer = Message("assistant", await text_of(engine, (instructions, *COUNT)))
        before = engine.counters.prompt_tokens - engine.counters.reused_tokens
        await text_of(engine, (instructions, *COUNT, answer, Message("user", "And on.")))
        new = engine.counters.prompt_tokens - engine.counters.reused_tokens - before
        assert before > 100
        assert new < 25  # the end of the answer, the question and its markers

        before = engine.counters.prompt_tokens - engine.counters.reused_tokens
        await text_of(engine, (instructions, *SUM))  # another call
        assert engine.counters.prompt_tokens - engine.counters.reused_tokens - before < 15


async def test_cancelled_is_not_stepped_again_and_leaves_the_others_alone(open_engine: Open) -> None:
    async with open_engine() as engine:
        count = await text_of(engine, COUNT)
        async with engine.reply(COUNT) as lasting:
            async with engine.reply(STORY) as cancelled:
                await anext(cancelled)
                cancelled.cancel()
            text = "".join([piece.text async for piece in lasting if isinstance(piece, TextDelta)])
        assert text == count
        written = engine.counters.tokens
        assert await text_of(engine, COUNT) == count  # the slot and the pages are free
        of_count = engine.counters.tokens - written
        assert written - 2 * of_count < 40  # of a story of more than 300


async def test_one_step_after_cancelling_the_slot_is_free(open_engine: Open) -> None:
    async with open_engine(slots=1) as engine:
        for _ in range(20):
            async with engine.reply(STORY) as reply:
                await anext(reply)
        assert await text_of(engine, SUM)


async def test_a_reply_too_many_is_refused(open_engine: Open) -> None:
    async with open_engine(slots=1) as engine:
        async with engine.reply(STORY):
            with pytest.raises(EngineBusy, match="all 1 slots"):
                await text_of(engine, SUM)
        assert await text_of(engine, SUM)


async def test_a_reply_for_which_the_cache_may_not_do_is_refused(open_engine: Open) -> None:
    async with open_engine(context_tokens=512, cache_tokens=512) as engine:
        async with engine.reply(STORY) as story:
            await anext(story)
            with pytest.raises(EngineBusy, match="cache"):
                await text_of(engine, SUM)
            assert len([piece async for piece in story]) > 200
        assert await text_of(engine, SUM)


async def test_old_conversations_make_room_for_new_ones(open_engine: Open) -> None:
    async with open_engine(context_tokens=512, cache_tokens=512, reply_tokens=20) as engine:
        first = await text_of(engine, COUNT)
        for number in range(30):
            await text_of(engine, (Message("system", f"Call {number}. " * 10), *SUM))
        assert await text_of(engine, COUNT) == first


async def test_a_conversation_beyond_the_context_is_refused(open_engine: Open) -> None:
    async with open_engine() as engine:
        with pytest.raises(ContextTooLong, match=r"1001 messages are \d+ tokens, at most 574 fit"):
            await text_of(engine, (*((*STORY, Message("assistant", "No.")) * 500), *STORY))


async def test_a_reply_that_does_not_end_is_cut(open_engine: Open, caplog: pytest.LogCaptureFixture) -> None:
    async with open_engine(reply_tokens=10) as engine:
        assert len((await text_of(engine, STORY)).split()) < 15
        assert "cut after 10 tokens" in caplog.text


async def test_half_a_tool_call_is_not_run(open_engine: Open) -> None:
    async with open_engine(reply_tokens=3) as engine:
        with pytest.raises(LanguageModelError, match="raise reply_tokens"):
            await pieces_of(engine, TIME, [CLOCK])
    async with open_engine() as engine, engine.reply(TIME, [CLOCK], Sampling(max_tokens=3)) as reply:
        assert [piece async for piece in reply] == []
        assert reply.ending.is_cut


async def test_every_token_is_counted(open_engine: Open, model: Ministral) -> None:
    async with open_engine() as engine, engine.reply(SUM) as reply:
        answer = Message("assistant", "".join([piece.text async for piece in reply if isinstance(piece, TextDelta)]))
        prompt = model.chat.prompt(SUM)
        with_the_end = model.chat.prompt([*SUM, answer])[len(prompt) : -2]  # without the empty question behind it
        assert reply.ending == Ending(False, len(prompt), len(with_the_end))


async def test_a_length_that_was_asked_for_is_no_warning(open_engine: Open, caplog: pytest.LogCaptureFixture) -> None:
    async with open_engine() as engine, engine.reply(STORY, sampling=Sampling(max_tokens=10)) as reply:
        assert len("".join([piece.text async for piece in reply if isinstance(piece, TextDelta)]).split()) < 15
        assert reply.ending == Ending(True, len(engine._running.model.chat.prompt(STORY)), 10)
    assert "cut" not in caplog.text


async def test_a_shorter_reply_leaves_room_for_a_longer_conversation(open_engine: Open) -> None:
    long = Message("user", "no " * 600)
    async with open_engine() as engine:
        with pytest.raises(ContextTooLong, match="at most 574 fit"):
            await text_of(engine, (long,))
        async with engine.reply((long,), sampling=Sampling(max_tokens=2)) as reply:
            [piece async for piece in reply]
        assert reply.ending.is_cut


async def test_ids_of_tool_calls_are_unique_in_a_conversation(open_engine: Open) -> None:
    async with open_engine() as engine:
        (call,) = await pieces_of(engine, TIME, [CLOCK])
        assert isinstance(call, ToolCall)
        assert (call.id, call.name, json.loads(call.arguments)) == ("call00000", "current_time", {})


async def test_a_reader_who_does_not_read_stops_the_writer(open_engine: Open) -> None:
    async with open_engine(unread_pieces=5) as engine, engine.reply(STORY) as reply:
        await anext(reply)
        assert await text_of(engine, SUM)
        written = engine.counters.tokens
        assert await text_of(engine, SUM)
        assert (engine.counters.tokens - written) * 2 >= written - 7
        assert len([piece async for piece in reply]) > 200


async def test_the_same_seed_samples_the_same(open_engine: Open) -> None:
    noise = (Message("user", "zzz"),)
    async with open_engine(temperature=2.0, seed=3) as engine:

        async def sampled(seed: int | None) -> list[TextDelta | ToolCall]:
            asked = Sampling(seed=seed, max_tokens=30)  # a limit that is asked for may cut a tool call, if one is drawn
            async with engine.reply(noise, sampling=asked) as reply:
                return [piece async for piece in reply]

        assert await sampled(None) == await sampled(None) == await sampled(3) != await sampled(4)


async def test_without_a_seed_each_reply_has_its_own(open_engine: Open) -> None:
    async with open_engine() as engine:
        seeds = [(await engine._begin(COUNT, (), Sampling())).seed for _ in range(2)]
    assert seeds[0] != seeds[1]


async def test_a_failed_step_ends_replies_not_the_engine(open_engine: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_engine() as engine:
        with monkeypatch.context() as broken:
            broken.setattr(TokenBatch, "load", lambda *_: 1 / 0)
            with pytest.raises(LanguageModelError, match="division by zero"):
                await text_of(engine, SUM)
        assert await text_of(engine, SUM)


async def test_not_a_number_ends_the_reply_and_is_not_remembered(
    open_engine: Open, model: Ministral, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_engine() as engine:
        with monkeypatch.context() as broken:
            broken.setattr(model.decoder, "logits", lambda hidden: torch.full((len(hidden), 9), torch.nan))
            with pytest.raises(LanguageModelError, match="became NaN"):
                await text_of(engine, SUM)
        reused = engine.counters.reused_tokens
        assert await text_of(engine, SUM)
        assert engine.counters.reused_tokens == reused


async def test_stopping_ends_what_is_written(open_engine: Open) -> None:
    async with open_engine(unread_pieces=1) as engine:
        reply = await engine.reply(STORY).__aenter__()
        await anext(reply)
    with pytest.raises(EngineUnreachable, match="stopped"):
        [piece async for piece in reply]
    with pytest.raises(EngineUnreachable, match="stopped"):
        await text_of(engine, SUM)


async def test_an_engine_that_does_nothing_is_unreachable(open_engine: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_engine(stall_timeout_s=0.05) as engine:
        stepper = engine._running
        with monkeypatch.context() as stuck:
            stuck.setattr(stepper, "next_deadline", lambda: None)
            with pytest.raises(EngineUnreachable, match="did nothing"):
                await text_of(engine, SUM)


async def test_no_such_device(ministral_by_heart: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    async with StepLoop("cuda:0") as loop:
        with pytest.raises(EngineUnreachable, match="no cuda device"):
            async with MinistralLanguageModel(MinistralConfig(checkpoint=ministral_by_heart), loop):
                pass


def test_settings_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="wanted reply_tokens < context_tokens <= cache_tokens"):
        MinistralConfig(checkpoint=tmp_path, context_tokens=512)
