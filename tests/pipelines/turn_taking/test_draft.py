"""The reply that is prepared at the first pause: heard at once when the turn is over, never when the caller goes on."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import numpy as np
from pipecat.frames.frames import InterruptionFrame, LLMMessagesAppendFrame

from llm.interface import Message, TextDelta, ToolCall
from pipelines.config import CallConfig
from pipelines.turn_taking.config import TurnTakingConfig

ChainOf = Callable[..., AbstractAsyncContextManager[Any]]


async def says_and_pauses(chain: Any, words: str) -> None:
    """The caller speaks, and pauses for less than a turn's end."""
    await chain.voice(20)
    await chain.silence(7)
    await chain.transcript(words, is_final=True)
    await chain.silence(2)


def spoken_to(chain: Any) -> list[tuple[str, str]]:
    return [(message.role, message.content) for message in chain.conversation.messages]


async def test_a_draft_is_ready_before_the_turn_is_over_and_not_heard_before(chain: Any) -> None:
    chain.model.scripts = [[TextDelta("One two three. "), TextDelta("Four five six.")]]
    await says_and_pauses(chain, "count to six")
    assert len(chain.model.asked) == 1
    assert chain.synthesizer.chunks_made == 1  # and no further
    assert not (await chain.play(10)).any()
    assert not chain.events.told("heard")
    assert [event["state"] for event in chain.events.told("state")] == ["listening"]

    await chain.silence(10)
    assert (await chain.play(1)).all()  # from the next packet's first sample
    assert len(chain.model.asked) == 1
    assert spoken_to(chain)[0] == ("user", "count to six")


async def test_nobody_hears_of_a_draft_when_the_caller_goes_on(chain: Any) -> None:
    chain.model.scripts = [[TextDelta("The wrong one.")], [TextDelta("The right one.")]]
    await says_and_pauses(chain, "tell me a story")
    await chain.voice(20)
    assert not spoken_to(chain)
    await chain.silence(7)
    await chain.transcript("about a lighthouse", is_final=True)
    await chain.silence(20)
    heard = await chain.play(100)
    assert chain.model.asked[-1] == (Message("user", "tell me a story about a lighthouse"),)
    assert len(chain.model.asked) == 2
    assert np.count_nonzero(heard) == 3 * 4 * 1920
    assert [event["text"] for event in chain.events.told("heard")] == ["The ", "right ", "one. "]
    assert spoken_to(chain)[0] == ("user", "tell me a story about a lighthouse")
    assert not chain.events.told("interrupted")
    assert not chain.events.decisions


async def test_words_that_come_late_make_another_draft(chain: Any) -> None:
    chain.model.scripts = [[TextDelta("Never heard.")], [TextDelta("Heard.")]]
    await says_and_pauses(chain, "tell me a story")
    await chain.transcript("about a lighthouse", is_final=True)
    assert len(chain.model.asked) == 2
    assert not (await chain.play(10)).any()
    await chain.silence(10)
    await chain.play(40)
    assert [event["text"] for event in chain.events.told("heard")] == ["Heard. "]
    assert spoken_to(chain)[0] == ("user", "tell me a story about a lighthouse")


async def test_a_draft_runs_no_tool(chain_with_tools: Any) -> None:
    chain = chain_with_tools
    chain.model.scripts = [[ToolCall("1", "current_time", "{}")], [TextDelta("It is noon.")]]
    await says_and_pauses(chain, "what time is it")
    assert len(chain.model.asked) == 1
    assert spoken_to(chain) == [("user", "what time is it")]
    await chain.silence(10)
    assert len(chain.model.asked) == 2
    assert chain.model.asked[1][-1].role == "tool"


async def test_a_withdrawn_draft_runs_no_tool_and_the_next_reply_does(chain_with_tools: Any) -> None:
    chain = chain_with_tools
    call = ToolCall("1", "current_time", "{}")
    chain.model.scripts = [[call], [call], [TextDelta("It is noon.")]]
    await says_and_pauses(chain, "what time is it")
    await chain.voice(20)
    assert not spoken_to(chain)
    await chain.silence(7)
    await chain.transcript("in rome", is_final=True)
    await chain.silence(20)
    assert [message.role for message in chain.model.asked[-1]] == ["user", "assistant", "tool"]
    assert len(chain.model.asked) == 3


async def test_a_reply_still_comes_when_a_client_interrupts_its_draft(chain: Any) -> None:
    chain.model.scripts = [[TextDelta("Never heard.")], [TextDelta("Heard.")]]
    await says_and_pauses(chain, "tell me a story")
    await chain.push(InterruptionFrame())
    await chain.silence(20)
    await chain.play(40)
    assert [event["text"] for event in chain.events.told("heard")] == ["Heard. "]
    assert [role for role, _ in spoken_to(chain)] == ["user", "assistant"]


async def test_drafts_can_be_switched_off(chain_of: ChainOf) -> None:
    async with chain_of(CallConfig(turn_taking=TurnTakingConfig(draft_reply=False))) as chain:
        await says_and_pauses(chain, "tell me a story")
        assert not chain.model.asked
        await chain.silence(10)
        assert len(chain.model.asked) == 1


async def test_the_reply_that_follows_a_withdrawn_draft_is_heard(chain: Any) -> None:
    """It was never drafted itself: the words stop in mid-thought, or come so late that the turn ends with them."""
    chain.model.scripts = [[TextDelta("Never heard.")], [TextDelta("Heard.")]]
    await says_and_pauses(chain, "tell me a story")
    await chain.voice(20)
    await chain.silence(7)
    await chain.transcript("about a", is_final=True)
    await chain.silence(45)
    assert len(chain.model.asked) == 2
    await chain.play(40)
    assert [event["text"] for event in chain.events.told("heard")] == ["Heard. "]


async def test_text_that_is_typed_over_a_draft_is_answered(chain: Any) -> None:
    chain.model.scripts = [[TextDelta("Never heard.")], [TextDelta("Heard.")]]
    await says_and_pauses(chain, "tell me a story")
    await chain.push(LLMMessagesAppendFrame(messages=[{"role": "user", "content": "shorter"}], run_llm=True))
    await chain.silence(20)
    await chain.play(40)
    assert [event["text"] for event in chain.events.told("heard")] == ["Heard. "]
    assert [content for role, content in spoken_to(chain) if role == "user"] == ["tell me a story", "shorter"]
    assert len(chain.model.asked) == 2
