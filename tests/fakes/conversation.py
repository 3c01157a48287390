"""A caller in a whole call: a peer over real UDP that says things and waits for what the server tells of the call."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from agent.serving.metrics import Metrics
from agent.tools.config import ToolsConfig
from agent.tools.toolbox import Toolbox
from benchmarks.far_end.caller import Caller
from benchmarks.far_end.material import sentence
from pipelines.call import Engines, run_call
from pipelines.config import AgentConfig, CallConfig
from pipelines.events import CallEnded, Event
from tests.fakes import PATIENCE_S
from webrtc.config import WebRTCConfig
from webrtc.peer.call import PeerCall

AGENT = AgentConfig(greeting="Hello.")

ToldEvent = dict[str, Any]


class Conversation:
    """The caller's side of a call that is under way; a sink of the call's events too, for its end."""

    def __init__(self, caller: Caller) -> None:
        self.caller = caller
        self.events: list[ToldEvent] = []
        self._end: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def emit(self, event: Event) -> None:
        if isinstance(event, CallEnded):
            self._end.set_result(event.reason)

    async def say(self, text: str) -> None:
        await self.caller.say(sentence(text))

    async def until(self, name: str, **values: str) -> ToldEvent:
        """The next event of this name whose texts contain these."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while True:
                    event = await self._next_event()
                    if event["event"] == name and all(text in event[key].lower() for key, text in values.items()):
                        return event
        except TimeoutError:
            pytest.fail(f"waited in vain for {name} {values}; what was told last: {self.events[-12:]}")

    async def hears(self, word: str) -> None:
        await self.until("heard", text=word)

    async def state(self, state: str) -> None:
        await self.until("state", state=state)

    async def end(self) -> str:
        """Wait for the end of the call: why it ended."""
        async with asyncio.timeout(PATIENCE_S):
            return await asyncio.shield(self._end)

    def told(self, name: str, key: str) -> list[Any]:
        """One value of each event of this name so far."""
        return [event[key] for event in self.events if event["event"] == name]

    @property
    def decisions(self) -> list[str]:
        return self.told("decision", "decision")

    async def _next_event(self) -> ToldEvent:
        while True:
            event: ToldEvent = json.loads((await self.caller.next_message()).text).get("data") or {}
            if event.get("type") == "parley":
                self.events.append(event)
                return event


@asynccontextmanager
async def calling(engines: Engines, config: CallConfig) -> AsyncGenerator[Conversation]:
    """A call under way, its greeting heard; it must end as every call does."""
    async with asyncio.TaskGroup() as group, PeerCall(WebRTCConfig(loopback=True)) as call:
        tools = Toolbox(AGENT.tools, ToolsConfig()).for_call()
        conversation = Conversation(Caller(call))
        sinks = [Metrics(), conversation]
        carried = group.create_task(run_call(call, engines, AGENT, config, tools=tools, sinks=sinks))
        async with conversation.caller:
            await conversation.hears("hello")
            await conversation.state("listening")
            yield conversation
        async with asyncio.timeout(PATIENCE_S):
            await carried
