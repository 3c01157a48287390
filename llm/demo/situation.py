"""What the demo model knows when it answers: the messages, the tools on offer, and nothing else."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

from llm.demo.words import words_of
from llm.interface import Message, ToolCall

INTERRUPTED = "—"  # ends an assistant message that the caller cut short


@dataclass(frozen=True, slots=True)
class DemoAnswer:
    """What the model says, and the tools that it wants to run after saying it."""

    text: str = ""
    calls: tuple[ToolCall, ...] = ()


@dataclass(frozen=True)
class Situation:
    """The conversation up to the answer that is wanted."""

    messages: Sequence[Message]
    tools: frozenset[str]
    unsaid: str = ""  # the rest of what the caller last interrupted

    @cached_property
    def words(self) -> tuple[str, ...]:
        """The caller's last words."""
        return next((words_of(message.content) for message in reversed(self.messages) if message.role == "user"), ())

    @cached_property
    def turn(self) -> int:
        """How many turns the caller has had; wordings vary by it, so that equal messages get equal answers."""
        return sum(message.role == "user" for message in self.messages)

    @cached_property
    def last_said(self) -> str:
        """What the caller last heard from us; ends with `INTERRUPTED` if it was cut short."""
        said = (message.content for message in reversed(self.messages) if message.role == "assistant")
        return next((content for content in said if content), "")

    @property
    def was_interrupted(self) -> bool:
        """Whether the caller's last words cut us short."""
        return self.last_said.endswith(INTERRUPTED)

    def hears(self, *phrases: str) -> bool:
        """Whether the caller's last words contain one of the phrases."""
        said = f" {' '.join(self.words)} "
        return any(f" {phrase} " in said for phrase in phrases)

    def hears_only(self, *phrases: str) -> bool:
        """Whether the caller said one of the phrases and nothing else."""
        return " ".join(self.words) in phrases

    def after(self, *phrases: str) -> tuple[str, ...] | None:
        """The caller's words after the first of the phrases that was said; None if none was."""
        said = f" {' '.join(self.words)} "
        for phrase in phrases:
            _, found, rest = said.partition(f" {phrase} ")
            if found:
                return tuple(rest.split())
        return None

    def vary(self, *wordings: str) -> str:
        """One of several wordings, the next one each turn."""
        return wordings[self.turn % len(wordings)]

    def call(self, tool: str, **arguments: Any) -> DemoAnswer | None:
        """The wish to run a tool; None if it is not on offer."""
        if tool not in self.tools:
            return None
        return DemoAnswer(calls=(ToolCall(f"call_{len(self.messages)}", tool, json.dumps(arguments)),))

    def tool_result(self) -> tuple[ToolCall, Mapping[str, Any]] | None:
        """The call that the last message answers, and what came out; None if the last message is no tool's."""
        last = self.messages[-1] if self.messages else None
        if last is None or last.role != "tool":
            return None
        calls = (call for message in reversed(self.messages) for call in message.tool_calls)
        call = next((call for call in calls if call.id == last.tool_call_id), None)
        return None if call is None else (call, _read_object(last.content))


def _read_object(text: str) -> Mapping[str, Any]:
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        return {"result": text}
    return cast("Mapping[str, Any]", value) if isinstance(value, dict) else {"result": value}
