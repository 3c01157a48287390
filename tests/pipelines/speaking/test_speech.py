"""A synthesizer that fails: the rest of that response is not spoken, the next one is tried again."""

import logging
from types import TracebackType
from typing import Any

import pytest
from pipecat.frames.frames import InterruptionFrame, LLMFullResponseEndFrame, LLMFullResponseStartFrame, LLMTextFrame

from llm.interface import Message, TextDelta
from pipelines.turn_taking.inputs import AgentPhase
from tts.interface import EngineUnreachable

WORD_PACKETS = 16  # 320 ms
LONG_PACKETS = 25 * WORD_PACKETS  # longer than anything said here
LOGGER = "pipelines.speaking.speech"  # Pipecat may log the same error again
CLAUSES = "It is noon. The sun is high. The streets are empty. Nobody is about."


class Refusal:
    """An utterance that nobody speaks."""

    async def __aenter__(self) -> None:
        raise EngineUnreachable("gone")

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


@pytest.fixture
def dying(chain: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The chain, whose synthesiser speaks one clause and is then gone until the test is told otherwise."""
    speak = chain.synthesizer.speak

    def speak_or_die(text: str, **settings: str) -> Any:
        utterance = speak(text, **settings)
        return Refusal() if len(chain.synthesizer.spoken) > 1 else utterance

    monkeypatch.setattr(chain.synthesizer, "speak", speak_or_die)
    return chain


async def respond(chain: Any, text: str) -> None:
    chain.model.scripts.append([TextDelta(part) for part in text.partition(". ")])
    await chain.says("what time is it")
    await chain.play(LONG_PACKETS)


async def test_one_failure_is_one_error_and_what_was_not_spoken_was_not_heard(
    dying: Any, caplog: pytest.LogCaptureFixture
) -> None:
    await respond(dying, CLAUSES)
    assert [
        record.message for record in caplog.records if record.levelno >= logging.ERROR and record.name == LOGGER
    ] == ["speech failed: gone"]
    assert dying.synthesizer.spoken == ["It is noon.", "The sun is high."]
    assert dying.conversation.messages[-1] == Message("assistant", "It is noon.")
    assert dying.activity.phase is AgentPhase.IDLE


async def test_the_next_response_tries_again(dying: Any) -> None:
    await respond(dying, CLAUSES)
    dying.synthesizer.spoken.clear()
    await respond(dying, "Hello again.")
    assert dying.conversation.messages[-1] == Message("assistant", "Hello again.")


async def test_a_response_that_waits_behind_the_failed_one_is_tried(dying: Any) -> None:
    begin, end = LLMFullResponseStartFrame, LLMFullResponseEndFrame
    text = LLMTextFrame(CLAUSES)
    await dying.push(begin(), text, end(), begin(), LLMTextFrame("Hello again."), end())
    await dying.play(LONG_PACKETS)
    assert dying.synthesizer.spoken == ["It is noon.", "The sun is high.", "Hello again."]


async def test_an_interruption_of_the_failed_response_leaves_the_next_whole(dying: Any) -> None:
    await dying.push(LLMFullResponseStartFrame(), LLMTextFrame(CLAUSES))  # its end is never reached
    await dying.play(3 * WORD_PACKETS)
    await dying.push(InterruptionFrame())
    await dying.push(LLMFullResponseStartFrame(), LLMTextFrame("Hello again."), LLMFullResponseEndFrame())
    assert dying.synthesizer.spoken == ["It is noon.", "The sun is high.", "Hello again."]
