"""Tools at work in one call: run side by side, cut short or left to finish when the caller interrupts.

The conversation always tells what became of them. A run that may be cut short is noted with its result, and if it is
cut short it never was. One that must finish is noted from its start, because its effect is certain, as still running.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from llm.interface import Tool, ToolCall
from pipelines.events import CallEvents, ToolFinished
from pipelines.replying.conversation import Conversation

STILL_RUNNING = json.dumps({"status": "still running"})


@dataclass(frozen=True, slots=True)
class CallTool:
    """A tool and how to run it: arguments in, JSON out; it bounds its own time and raises nothing but cancellation."""

    tool: Tool
    run: Callable[[Mapping[str, Any]], Awaitable[str]]
    ends_call: bool = False  # hang up once the reply that follows has been heard
    on_interruption: Literal["cancel", "finish"] = "cancel"  # what becomes of a run that the caller speaks into


class ToolRuns:
    """The tools of one call.

    Args:
        tools: those on offer.
        conversation: every run is noted in it.
        events: likewise, without arguments and results.
        spawn: starts a task whose owner ends it with the call.
    """

    def __init__(
        self,
        tools: Sequence[CallTool],
        conversation: Conversation,
        events: CallEvents,
        spawn: Callable[[Coroutine[Any, Any, str]], asyncio.Task[str]],
    ) -> None:
        self._tools = {tool.tool.name: tool for tool in tools}
        self._conversation = conversation
        self._events = events
        self._spawn = spawn
        self._tasks: set[asyncio.Task[str]] = set()

    @property
    def tools(self) -> Sequence[Tool]:
        """What the model may ask for."""
        return [tool.tool for tool in self._tools.values()]

    @property
    def tasks(self) -> Sequence[asyncio.Task[str]]:
        """The runs in progress, those after an interruption among them."""
        return tuple(self._tasks)

    def end_call(self, calls: Sequence[ToolCall]) -> bool:
        """Whether one of these asks to hang up."""
        return any(call.name in self._tools and self._tools[call.name].ends_call for call in calls)

    async def run(
        self, calls: Sequence[ToolCall], *, slow_after_s: float, on_slow: Callable[[], Awaitable[None]]
    ) -> Sequence[str]:
        """The results of these calls, in their order; cancelling it is the caller's interruption.

        Args:
            calls: what the model wants, all at once.
            slow_after_s: patience of a caller who hears nothing.
            on_slow: awaited once if they take longer.
        """
        lasting = [call for call in calls if self._must_finish(call)]
        if lasting:
            self._conversation.agent_called(lasting, [STILL_RUNNING] * len(lasting))
        tasks = [self._spawn(self._run(call)) for call in calls]
        passing = [(call, task) for call, task in zip(calls, tasks, strict=True) if call not in lasting]
        for task in tasks:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        try:
            _, slow = await asyncio.wait(tasks, timeout=slow_after_s)
            if slow:
                await on_slow()
                await asyncio.wait(slow)
        finally:
            for _, task in passing:
                task.cancel()
        if passing:
            self._conversation.agent_called([call for call, _ in passing], [task.result() for _, task in passing])
        return [task.result() for task in tasks]

    def _must_finish(self, call: ToolCall) -> bool:
        return call.name in self._tools and self._tools[call.name].on_interruption == "finish"

    async def _run(self, call: ToolCall) -> str:
        began_ms, is_cancelled = self._events.now_ms, True
        try:
            result = await self._result_of(call)
            is_cancelled = False
        finally:
            now_ms = self._events.now_ms
            self._events.emit(ToolFinished(now_ms, call.name, now_ms - began_ms, is_cancelled))
        if self._must_finish(call):
            self._conversation.tool_finished(call.id, result)
        return result

    async def _result_of(self, call: ToolCall) -> str:
        tool = self._tools.get(call.name)
        if tool is None:
            return _failure(f"there is no tool {call.name!r}; there are: {', '.join(self._tools)}")
        try:
            arguments: object = json.loads(call.arguments or "{}")
        except json.JSONDecodeError as error:
            return _failure(f"the arguments are not JSON: {error}")
        if not isinstance(arguments, dict):
            return _failure("the arguments are not a JSON object")
        return await tool.run(cast(dict[str, Any], arguments))


def _failure(message: str) -> str:
    return json.dumps({"error": message})
