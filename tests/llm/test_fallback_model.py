"""A list of language models as one, and the order in which engines are tried."""

from collections.abc import Sequence
from types import TracebackType
from typing import Self

import pytest

from llm.failover import COOL_DOWN_S, Health
from llm.fallback import FallbackLanguageModel
from llm.interface import (
    AS_SET,
    ContextTooLong,
    Ending,
    EngineUnreachable,
    LanguageModelError,
    Message,
    Sampling,
    TextDelta,
    Tool,
    ToolCall,
)

Script = Sequence[str | Exception]

GONE = EngineUnreachable("gone")


class ScriptedReply:
    def __init__(self, script: Script) -> None:
        self._script = iter(script)
        self.is_left = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.is_left = True

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> TextDelta | ToolCall:
        try:
            word = next(self._script)
        except StopIteration:
            raise StopAsyncIteration from None
        if isinstance(word, Exception):
            raise word
        return TextDelta(word)

    def cancel(self) -> None:
        self._script = iter(())

    @property
    def ending(self) -> Ending:
        return Ending(reply_tokens=2)


class ScriptedModel:
    def __init__(self, script: Script) -> None:
        self._script = script
        self.replies: list[ScriptedReply] = []
        self.asked: list[Sampling] = []

    def reply(
        self, messages: Sequence[Message], tools: Sequence[Tool] = (), sampling: Sampling = AS_SET
    ) -> ScriptedReply:
        self.asked.append(sampling)
        self.replies.append(ScriptedReply(self._script))
        return self.replies[-1]


async def read(model: FallbackLanguageModel) -> list[str]:
    async with model.reply([Message("user", "hello")]) as reply:
        return [part.text async for part in reply if isinstance(part, TextDelta)]


async def test_a_failure_before_the_first_word_is_not_noticed() -> None:
    dead, alive = ScriptedModel([GONE]), ScriptedModel(["Good ", "day."])
    assert await read(FallbackLanguageModel([dead, alive])) == ["Good ", "day."]
    assert all(reply.is_left for reply in dead.replies + alive.replies)


async def test_every_model_is_asked_for_the_same_and_the_one_that_replies_knows_how_it_ended() -> None:
    dead, alive = ScriptedModel([GONE]), ScriptedModel(["Good ", "day."])
    model = FallbackLanguageModel([dead, alive])
    async with model.reply([Message("user", "hello")], sampling=Sampling(seed=3)) as reply:
        assert len([part async for part in reply]) == 2
        assert reply.ending == Ending(reply_tokens=2)
    assert dead.asked == alive.asked == [Sampling(seed=3)]


async def test_a_failure_after_the_first_word_is_told() -> None:
    spare = ScriptedModel(["Good day."])
    model = FallbackLanguageModel([ScriptedModel(["Good ", GONE]), spare])
    with pytest.raises(EngineUnreachable):
        await read(model)
    assert spare.replies == []
    assert await read(model) == ["Good day."]  # the next reply goes to the one that has not failed


async def test_the_last_models_error_is_the_replys() -> None:
    with pytest.raises(EngineUnreachable):
        await read(FallbackLanguageModel([ScriptedModel([GONE]), ScriptedModel([GONE])]))


async def test_a_refused_key_is_noted_once_and_not_noticed(caplog: pytest.LogCaptureFixture) -> None:
    refusing = ScriptedModel([LanguageModelError("answered 401: check the key")])
    model = FallbackLanguageModel([refusing, ScriptedModel(["Good day."])])
    assert await read(model) == await read(model) == ["Good day."]
    assert len(refusing.replies) == 1
    assert caplog.messages == ["a reply failed, falling back to the next engine: answered 401: check the key"]
    assert caplog.records[0].levelname == "WARNING"


async def test_what_is_wrong_with_the_question_is_told() -> None:
    spare = ScriptedModel(["Good day."])
    with pytest.raises(ContextTooLong):
        await read(FallbackLanguageModel([ScriptedModel([ContextTooLong("too long")]), spare]))
    assert spare.replies == []


def test_an_engine_that_failed_comes_last_until_it_has_cooled_down() -> None:
    now_s = 0.0
    engines = ["first", "second", "third"]
    health = Health(engines, clock=lambda: now_s)
    assert health.order() == ["first", "second", "third"]
    health.note_failure("first")
    assert health.order() == ["second", "third", "first"]
    now_s = COOL_DOWN_S + 1
    assert health.order() == ["first", "second", "third"]


def test_an_engine_may_be_added() -> None:
    engines = ["second"]
    health = Health(engines)
    health.note_failure("second")
    engines.insert(0, "first")
    assert health.order() == ["first", "second"]
    health.note_failure("first")
    assert health.order() == ["first", "second"]
