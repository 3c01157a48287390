"""Tools in a call: what a caller hears while they work, and what becomes of them when the caller interrupts."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any, Literal

import pytest

from llm.interface import Message, TextDelta, Tool, ToolCall
from pipelines.config import CallConfig, WaitingConfig
from pipelines.replying.tool_runs import STILL_RUNNING, CallTool

SILENT = CallConfig()
FILLER = SILENT.waiting.filler
CALL = ToolCall("1", "look", "{}")


class Lookup:
    """A tool whose end the test decides."""

    def __init__(
        self,
        name: str = "look",
        *,
        on_interruption: Literal["cancel", "finish"] = "cancel",
        takes_s: float | None = None,
    ) -> None:
        self.may_end = asyncio.Event()
        self.takes_s = takes_s
        self.became: list[str] = []
        self.tool = CallTool(Tool(name, "", {}), self._run, on_interruption=on_interruption)

    async def _run(self, arguments: Mapping[str, Any]) -> str:
        try:
            if self.takes_s is None:
                await self.may_end.wait()
            else:
                await asyncio.sleep(self.takes_s)
        except asyncio.CancelledError:
            self.became.append("cancelled")
            raise
        self.became.append("finished")
        return '{"found": 1}'


async def interrupt(chain: Any) -> None:
    """The caller speaks long enough to take the floor."""
    await chain.voice(19)


@pytest.mark.parametrize(("takes_s", "spoken"), [(1.4, ["Found it."]), (1.6, [FILLER, "Found it."])])
def test_a_caller_is_told_after_a_second_and_a_half(
    takes_s: float, spoken: list[str], chain_of: Any, in_virtual_time: Any
) -> None:
    async def scenario() -> None:
        async with chain_of(SILENT, [Lookup(takes_s=takes_s).tool]) as chain:
            chain.model.scripts += [[CALL], [TextDelta("Found it.")]]
            await chain.says("look it up")
            await asyncio.sleep(takes_s + 0.01)
            await chain.play(200)
            assert " ".join(chain.synthesizer.spoken) == " ".join(spoken)

    in_virtual_time(scenario())


@pytest.mark.parametrize(
    ("config", "first"),
    [
        (SILENT, [TextDelta("Let me look.")]),  # the model has said so itself
        (CallConfig(waiting=WaitingConfig(filler="")), []),
    ],
)
def test_no_filler_where_none_is_wanted(
    config: CallConfig, first: list[TextDelta], chain_of: Any, in_virtual_time: Any
) -> None:
    async def scenario() -> None:
        async with chain_of(config, [Lookup(takes_s=4).tool]) as chain:
            chain.model.scripts += [[*first, CALL], [TextDelta("Found it.")]]
            await chain.says("look it up")
            await chain.play(100)
            await asyncio.sleep(4)
            await chain.play(100)
            assert chain.synthesizer.spoken == [*(delta.text for delta in first), "Found it."]

    in_virtual_time(scenario())


def test_what_the_caller_heard_of_the_filler_is_in_the_conversation(chain_of: Any, in_virtual_time: Any) -> None:
    async def scenario() -> None:
        async with chain_of(SILENT, [Lookup(takes_s=9).tool]) as chain:
            chain.model.scripts += [[CALL], [TextDelta("Found it.")]]
            await chain.says("look it up")
            await asyncio.sleep(1.6)
            await chain.play(200)
            await asyncio.sleep(9)
            await chain.play(200)
            assert [(message.role, message.content) for message in chain.conversation.messages] == [
                ("user", "look it up"),
                ("assistant", FILLER),
                ("assistant", ""),
                ("tool", '{"found": 1}'),
                ("assistant", "Found it."),
            ]

    in_virtual_time(scenario())


async def test_a_run_that_is_cut_short_never_was(chain_of: Any) -> None:
    lookup = Lookup()
    async with chain_of(SILENT, [lookup.tool]) as chain:
        chain.model.scripts.append([CALL])
        await chain.says("look it up")
        await interrupt(chain)
        assert lookup.became == ["cancelled"]
        await chain.silence(7)
        await chain.transcript("in Paris please", is_final=True)
        await chain.silence(15)
        assert chain.model.asked[-1] == (Message("user", "look it up in Paris please"),)


async def test_a_run_that_must_finish_does_and_the_conversation_knows(chain_of: Any) -> None:
    lookup = Lookup(on_interruption="finish")
    async with chain_of(SILENT, [lookup.tool]) as chain:
        chain.model.scripts.append([CALL])
        await chain.says("book it")
        await interrupt(chain)
        assert lookup.became == []
        noted = Message("assistant", "", tool_calls=(CALL,))
        assert chain.conversation.messages[1:] == (noted, Message("tool", STILL_RUNNING, tool_call_id="1"))
        lookup.may_end.set()
        await chain.silence(7)
        assert lookup.became == ["finished"]
        assert chain.conversation.messages[1:] == (noted, Message("tool", '{"found": 1}', tool_call_id="1"))


async def test_of_several_runs_each_fares_as_declared(chain_of: Any) -> None:
    booking, looking = Lookup("book", on_interruption="finish"), Lookup("look")
    async with chain_of(SILENT, [booking.tool, looking.tool]) as chain:
        chain.model.scripts.append([ToolCall("1", "look", "{}"), ToolCall("2", "book", "{}")])
        await chain.says("both of it")
        await interrupt(chain)
        assert (booking.became, looking.became) == ([], ["cancelled"])
        noted = [message for message in chain.conversation.messages if message.role == "tool"]
        assert noted == [Message("tool", STILL_RUNNING, tool_call_id="2")]


async def test_runs_side_by_side_answer_in_the_order_asked(chain_of: Any) -> None:
    slow, quick = Lookup("slow"), Lookup("quick", takes_s=0)
    async with chain_of(SILENT, [slow.tool, quick.tool]) as chain:
        calls = [ToolCall("a", "slow", "{}"), ToolCall("b", "quick", "{}")]
        chain.model.scripts += [calls, [TextDelta("Done.")]]
        await chain.says("both")
        assert quick.became == ["finished"]
        slow.may_end.set()
        await chain.play(1)
        assert [message.tool_call_id for message in chain.model.asked[-1][-2:]] == ["a", "b"]


async def test_hanging_up_ends_what_is_still_at_work(chain_of: Any) -> None:
    lookup = Lookup(on_interruption="finish")
    async with chain_of(SILENT, [lookup.tool]) as chain:
        chain.model.scripts.append([CALL])
        await chain.says("book it")
        await interrupt(chain)
    assert lookup.became == ["cancelled"]


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (ToolCall("1", "sing", "{}"), "there is no tool 'sing'; there are: look"),
        (ToolCall("1", "look", "{"), "the arguments are not JSON"),
        (ToolCall("1", "look", "[1]"), "the arguments are not a JSON object"),
    ],
)
async def test_a_call_that_cannot_be_run_is_told_to_the_model(call: ToolCall, told: str, chain_of: Any) -> None:
    async with chain_of(SILENT, [Lookup().tool]) as chain:
        chain.model.scripts += [[call], [TextDelta("Sorry.")]]
        await chain.says("sing")
        assert told in json.loads(chain.model.asked[-1][-1].content)["error"]
