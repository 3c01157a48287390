"""A call from turn-taking to the heard ledger, in virtual time."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import numpy as np
import pytest

from llm.interface import ContextTooLong, LanguageModelError, Message, TextDelta, Tool, ToolCall
from pipelines.replying.reply import APOLOGY

STORY = "Once upon a time a fox ran over the hill and far away."
WORD_PACKETS = 16  # 320 ms
DUCKED = 0.5 * 10 ** (-15 / 20)


def texts(chain: Any) -> list[tuple[str, str]]:
    return [(message.role, message.content) for message in chain.conversation.messages]


async def start_story(chain: Any, *, heard_words: int) -> None:
    """The caller asks, the agent tells, so many words have been played."""
    chain.model.scripts.append([TextDelta(STORY)])
    await chain.says("tell me a story")
    await chain.play(heard_words * WORD_PACKETS)


async def test_a_turn_is_answered_and_what_was_heard_enters_the_conversation(chain: Any) -> None:
    chain.model.scripts.append([TextDelta("It is "), TextDelta("noon.")])
    await chain.says("what time is it")
    assert chain.model.asked == [(Message("user", "what time is it"),)]
    samples = await chain.play(4 * WORD_PACKETS)
    assert np.count_nonzero(samples) == 3 * 4 * 1920
    assert texts(chain) == [("user", "what time is it"), ("assistant", "It is noon.")]
    assert [event["text"] for event in chain.events.told("heard")] == ["It ", "is ", "noon. "]
    assert len(chain.events.told("latency")) == 1


async def test_nothing_enters_the_conversation_before_it_is_heard(chain: Any) -> None:
    await start_story(chain, heard_words=2)
    assert texts(chain) == [("user", "tell me a story")]


async def test_speech_never_runs_further_ahead_than_the_lead(chain: Any) -> None:
    await start_story(chain, heard_words=0)
    leads: list[float] = []
    for _ in range(100):
        await chain.play(1)
        leads.append(chain.call.playout.lead_samples / 24)
    assert max(leads) <= 320 + 80
    assert not chain.events.told("underrun")


async def test_interruption_silences_within_a_packet_and_cuts_the_context_to_what_was_heard(chain: Any) -> None:
    await start_story(chain, heard_words=3)
    await chain.voice(2)
    assert np.allclose((await chain.play(2))[480:], DUCKED, atol=1e-3)
    await chain.voice(4)
    assert chain.events.decisions == ["duck", "mute"]
    assert np.all((await chain.play(10))[240:] == 0)  # the fade takes 10 ms
    await chain.voice(13)
    assert chain.events.decisions == ["duck", "mute", "cut"]
    assert np.all(await chain.play(50) == 0)
    assert texts(chain) == [("user", "tell me a story"), ("assistant", "Once upon a—")]
    assert chain.events.told("interrupted")[0]["heard"] == "Once upon a"


async def test_a_muted_agent_goes_on_where_it_was(chain: Any) -> None:
    """A cough with pitch silences it for a moment; no sample is lost or repeated."""
    await start_story(chain, heard_words=3)
    made_before = 3 * WORD_PACKETS * 480
    await chain.voice(8)
    muted = await chain.play(20)
    await chain.silence(14)
    assert chain.events.decisions == ["duck", "mute", "resume"]
    rest = await chain.play(200)
    words = len(STORY.split())
    assert np.count_nonzero(muted) <= 240
    assert np.count_nonzero(muted) + np.count_nonzero(rest) + made_before == pytest.approx(words * 4 * 1920, abs=2)
    assert texts(chain)[-1] == ("assistant", STORY)


async def test_no_speech_is_made_for_an_interrupted_reply(chain: Any) -> None:
    await start_story(chain, heard_words=3)
    await chain.voice(19)
    made = chain.synthesizer.chunks_made
    await chain.silence(10)
    await chain.play(50)
    assert chain.synthesizer.chunks_made == made


async def test_the_interrupting_words_become_the_next_turn(chain: Any) -> None:
    await start_story(chain, heard_words=3)
    chain.model.scripts.append([TextDelta("Okay.")])
    await chain.voice(4)
    await chain.transcript("top", is_final=False)
    await chain.voice(8)
    await chain.silence(7)
    await chain.transcript("stop please", is_final=True)
    await chain.silence(15)
    assert texts(chain)[-1] == ("user", "stop please")
    assert chain.sink.told == ["tell me a story", "stop please"]
    await chain.play(2 * WORD_PACKETS)
    assert texts(chain)[-1] == ("assistant", "Okay.")


async def test_a_false_alarm_loses_and_repeats_nothing(chain: Any) -> None:
    await start_story(chain, heard_words=3)
    made_before = 3 * WORD_PACKETS * 480
    await chain.voice(3, is_voiced=False)  # a cough
    quiet = await chain.play(10)
    await chain.silence(14)
    assert chain.events.decisions == ["duck", "resume"]
    rest = await chain.play(200)
    words = len(STORY.split())
    assert np.count_nonzero(quiet) + np.count_nonzero(rest) + made_before == words * 4 * 1920
    assert texts(chain)[-1] == ("assistant", STORY)


async def test_a_long_doubt_is_not_heard_as_a_hole(chain: Any) -> None:
    """Held synthesis goes on, ducked, before playout runs dry."""
    await start_story(chain, heard_words=3)
    for _ in range(18):
        await chain.voice(1, is_hum=True)
        assert np.all((await chain.play(2)) > 0)
    assert not chain.events.told("underrun")
    assert "cut" not in chain.events.decisions


async def test_a_back_channel_does_not_become_a_turn(chain: Any) -> None:
    await start_story(chain, heard_words=3)
    await chain.voice(10)
    await chain.silence(7)
    await chain.transcript("mhm", is_final=True)
    await chain.silence(30)
    assert chain.events.decisions == ["duck", "mute", "resume"]
    assert len(chain.model.asked) == 1
    assert chain.sink.told == ["tell me a story"]


async def test_a_turn_that_goes_on_before_the_reply_is_heard_is_one_turn(chain: Any) -> None:
    chain.model.scripts.append([TextDelta("Certainly.")])
    await chain.says("a table")
    await chain.voice(8)
    await chain.voice(13)
    assert chain.events.decisions == ["duck", "mute", "cut"]
    await chain.silence(7)
    await chain.transcript("for two please", is_final=True)
    await chain.silence(15)
    assert chain.model.asked[-1] == (Message("user", "a table for two please"),)


async def test_a_caller_who_pauses_in_mid_turn_is_waited_for(chain: Any) -> None:
    chain.model.scripts = [[TextDelta("Certainly.")]]
    await chain.voice(20)
    await chain.silence(7)
    await chain.transcript("i would like a", is_final=True)
    await chain.silence(18)  # 800 ms, after an unfinished thought
    await chain.voice(20)
    await chain.silence(7)
    await chain.transcript("table please", is_final=True)
    await chain.silence(20)  # 860 ms: of another caller the turn were over
    assert not chain.events.told("state")[1:]
    await chain.silence(6)
    assert chain.events.told("state")[1]["state"] == "thinking"


@pytest.mark.parametrize(("words", "asks"), [("stop please", True), ("mhm", False), ("", False)])
async def test_words_that_come_after_the_agent_went_on_may_still_stop_it(chain: Any, words: str, *, asks: bool) -> None:
    await start_story(chain, heard_words=3)
    await chain.voice(13)
    await chain.silence(14)
    assert chain.events.decisions == ["duck", "mute", "resume"]
    await chain.transcript(words, is_final=True)
    await chain.silence(5)
    assert (chain.events.decisions[3:] == ["cut"]) is asks
    assert (await chain.play(50))[240:].any() != asks  # the fade takes 10 ms
    await chain.silence(20)
    assert len(chain.model.asked) == 1 + asks


async def test_noise_without_words_ends_without_a_reply(chain: Any) -> None:
    await chain.voice(10)
    await chain.silence(7)
    await chain.transcript("", is_final=True)
    await chain.silence(40)
    assert chain.model.asked == []
    assert chain.conversation.messages == ()
    await chain.says("hello")
    assert chain.model.asked == [(Message("user", "hello"),)]


async def test_a_cough_is_no_turn_whatever_the_recognizer_makes_of_it(chain: Any) -> None:
    await chain.voice(6)
    await chain.silence(7)
    await chain.transcript("half", is_final=True, confidence=0.3)
    await chain.silence(40)
    assert chain.model.asked == []


async def test_unclear_words_of_some_length_are_answered(chain: Any) -> None:
    """The model says kindly that it did not understand."""
    await chain.voice(30)
    await chain.silence(7)
    await chain.transcript("half a loaf", is_final=True, confidence=0.3)
    await chain.silence(40)
    assert chain.model.asked == [(Message("user", "…"),)]


async def test_tools_run_and_their_results_reach_the_model(chain_with_tools: Any) -> None:
    chain = chain_with_tools
    call = ToolCall("1", "current_time", '{"zone": "UTC"}')
    chain.model.scripts += [[call], [TextDelta("Noon.")]]
    await chain.says("what time is it")
    assert chain.model.asked[1][1:] == (
        Message("assistant", "", tool_calls=(call,)),
        Message("tool", '{"time": "12:00", "zone": "UTC"}', tool_call_id="1"),
    )
    await chain.play(2 * WORD_PACKETS)
    assert texts(chain)[-1] == ("assistant", "Noon.")


async def test_the_call_ends_once_the_farewell_has_been_heard(chain_with_tools: Any) -> None:
    chain = chain_with_tools
    chain.model.scripts += [[ToolCall("1", "end_call", "{}")], [TextDelta("Goodbye then.")]]
    await chain.says("goodbye")
    await chain.play(WORD_PACKETS)
    assert not chain.ended.is_set()
    await chain.play(2 * WORD_PACKETS)
    assert chain.ended.is_set()


class ShortMemory:
    """A model that reads few messages."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.read: list[Sequence[Message]] = []

    def reply(self, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> AbstractAsyncContextManager[Any]:
        @asynccontextmanager
        async def opened() -> AsyncGenerator[AsyncGenerator[TextDelta]]:
            if len(messages) > self._most:
                raise ContextTooLong("leave out the oldest")
            self.read.append(tuple(messages))
            yield said()

        async def said() -> AsyncGenerator[TextDelta]:
            yield TextDelta("Yes.")

        return opened()


async def test_a_conversation_that_outgrows_the_model_goes_on_without_its_beginning(chain: Any) -> None:
    chain.reply._model = model = ShortMemory(most=5)
    for number in ("one", "two", "three", "four", "five"):
        await chain.says(number)
        await chain.play(WORD_PACKETS * 2)
    asked = [[message.content for message in messages if message.role == "user"] for messages in model.read]
    assert asked == [["one"], ["one", "two"], ["one", "two", "three"], ["three", "four"], ["three", "four", "five"]]
    assert texts(chain)[0] == ("user", "three")


async def test_a_failing_model_apologizes(chain: Any) -> None:
    chain.model.scripts.append([LanguageModelError("gone")])
    await chain.says("hello")
    await chain.play(WORD_PACKETS * (len(APOLOGY.split()) + 1))
    assert texts(chain)[-1] == ("assistant", APOLOGY)


async def test_markdown_is_not_spoken(chain: Any) -> None:
    chain.model.scripts.append([TextDelta("It is **noon**.")])
    await chain.says("what time is it")
    await chain.play(1)
    assert chain.synthesizer.spoken == ["It is noon."]
