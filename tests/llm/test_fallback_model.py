"""A list of language models as one, and the order in which engines are tried."""

import pytest

from llm.failover import COOL_DOWN_S, Health
from llm.fallback import FallbackLanguageModel
from llm.interface import (
    ContextTooLong,
    Ending,
    EngineUnreachable,
    LanguageModelError,
    Message,
    Sampling,
    TextDelta,
)
from tests.fakes.scripted import ScriptedModel

GONE = EngineUnreachable("gone")


def scripted(*words: str | Exception) -> ScriptedModel:
    """A model that says this in both of its replies; an exception is raised in its place."""
    script = [word if isinstance(word, Exception) else TextDelta(word) for word in words]
    return ScriptedModel([script, script], Ending(reply_tokens=2))


async def read(model: FallbackLanguageModel) -> list[str]:
    async with model.reply([Message("user", "hello")]) as reply:
        return [part.text async for part in reply if isinstance(part, TextDelta)]


async def test_a_failure_before_the_first_word_is_not_noticed() -> None:
    dead, alive = scripted(GONE), scripted("Good ", "day.")
    assert await read(FallbackLanguageModel([dead, alive])) == ["Good ", "day."]
    assert all(reply.is_left for reply in dead.replies + alive.replies)


async def test_every_model_is_asked_for_the_same_and_the_one_that_replies_knows_how_it_ended() -> None:
    dead, alive = scripted(GONE), scripted("Good ", "day.")
    model = FallbackLanguageModel([dead, alive])
    async with model.reply([Message("user", "hello")], sampling=Sampling(seed=3)) as reply:
        assert len([part async for part in reply]) == 2
        assert reply.ending == Ending(reply_tokens=2)
    assert dead.samplings == alive.samplings == [Sampling(seed=3)]


async def test_a_failure_after_the_first_word_is_told() -> None:
    spare = scripted("Good day.")
    model = FallbackLanguageModel([scripted("Good ", GONE), spare])
    with pytest.raises(EngineUnreachable):
        await read(model)
    assert spare.replies == []
    assert await read(model) == ["Good day."]  # the next reply goes to the one that has not failed


async def test_the_last_models_error_is_the_replys() -> None:
    with pytest.raises(EngineUnreachable):
        await read(FallbackLanguageModel([scripted(GONE), scripted(GONE)]))


async def test_a_refused_key_is_noted_once_and_not_noticed(caplog: pytest.LogCaptureFixture) -> None:
    refusing = scripted(LanguageModelError("answered 401: check the key"))
    model = FallbackLanguageModel([refusing, scripted("Good day.")])
    assert await read(model) == await read(model) == ["Good day."]
    assert len(refusing.replies) == 1
    assert caplog.messages == ["a reply failed, falling back to the next engine: answered 401: check the key"]
    assert caplog.records[0].levelname == "WARNING"


async def test_what_is_wrong_with_the_question_is_told() -> None:
    spare = scripted("Good day.")
    with pytest.raises(ContextTooLong):
        await read(FallbackLanguageModel([scripted(ContextTooLong("too long")), spare]))
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
