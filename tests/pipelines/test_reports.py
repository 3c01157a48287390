"""What a call tells of itself: its states, the captions, and which reply it is that is being heard."""

from typing import Any

from llm.interface import TextDelta, ToolCall

WORD_PACKETS = 16  # 320 ms


def states(chain: Any) -> list[str]:
    return [event["state"] for event in chain.events.told("state")]


async def test_a_reply_without_speech_leaves_no_thought_behind(chain: Any) -> None:
    chain.model.scripts.append([TextDelta("🙂")])
    await chain.says("hello")
    await chain.play(5)
    await chain.silence(5)
    assert states(chain) == ["listening", "thinking", "listening"]


async def test_after_a_noise_an_agent_that_thinks_still_thinks(chain_with_tools: Any) -> None:
    chain = chain_with_tools
    chain.model.scripts.append([ToolCall("1", "never_ends", "{}")])
    await chain.says("hello")
    await chain.voice(1)
    await chain.silence(20)
    assert states(chain) == ["listening", "thinking", "ducked", "thinking"]


async def test_words_before_a_tool_call_belong_to_the_reply_they_were_said_in(chain_with_tools: Any) -> None:
    chain = chain_with_tools
    call = ToolCall("1", "current_time", "{}")
    chain.model.scripts += [[TextDelta("Let me look. "), call], [TextDelta("It is noon.")]]
    await chain.says("what time is it")
    await chain.play(WORD_PACKETS * 4)
    await chain.voice(20)
    heard = [(event["text"].strip(), event["utterance"]) for event in chain.events.told("heard")]
    assert heard == [("Let", 1), ("me", 1), ("look.", 1), ("It", 2)]
    (interrupted,) = chain.events.told("interrupted")
    assert (interrupted["heard"], interrupted["utterance"]) == ("It", 2)


async def test_an_interim_that_comes_to_nothing_is_taken_back(chain: Any) -> None:
    await chain.voice(6)
    await chain.transcript("what", is_final=False)
    await chain.silence(7)
    await chain.transcript("what", is_final=True, confidence=0.1)
    await chain.silence(30)
    assert chain.sink.told == [""]
    assert not chain.model.asked


async def test_an_interim_whose_final_never_comes_is_made_final(chain: Any) -> None:
    await chain.voice(20)
    await chain.transcript("tell me a story", is_final=False)
    await chain.silence(80)
    assert chain.sink.told == ["tell me a story"]
    assert len(chain.model.asked) == 1
