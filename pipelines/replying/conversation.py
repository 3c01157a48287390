"""The conversation as both sides know it: what was said and what was heard, never what was only generated."""

from collections.abc import Sequence

from llm.interface import Message, ToolCall

INTERRUPTED = "—"  # ends an agent message that the caller cut short; models read it as such


class Conversation:
    """The messages of one call, in order."""

    def __init__(self, instructions: str = "") -> None:
        self._messages: list[Message] = [Message("system", instructions)] if instructions else []

    @property
    def messages(self) -> Sequence[Message]:
        """Everything so far, oldest first."""
        return tuple(self._messages)

    def forget_older_half(self) -> None:
        """Drop the older half of the turns; the last one stays."""
        forget_older_half(self._messages)

    def caller_said(self, text: str) -> None:
        """The caller finished a turn."""
        self._messages.append(Message("user", text))

    def reopen_turn(self) -> str:
        """Take back the caller's last turn, which goes on: its text, or "" if the agent has been heard since."""
        if self._messages and self._messages[-1].role == "user":
            return self._messages.pop().content
        return ""

    def agent_said(self, heard: str, *, is_interrupted: bool) -> None:
        """The caller heard this of the agent's message; nothing is noted if nothing was heard."""
        if text := heard.strip():
            self._messages.append(Message("assistant", text + INTERRUPTED if is_interrupted else text))

    def agent_called(self, calls: Sequence[ToolCall], results: Sequence[str]) -> None:
        """The agent ran tools, with these results (JSON), one for each call."""
        self._messages.append(Message("assistant", "", tool_calls=tuple(calls)))
        self._messages += [
            Message("tool", result, tool_call_id=call.id) for call, result in zip(calls, results, strict=True)
        ]

    def tool_finished(self, call_id: str, result: str) -> None:
        """A tool that had been noted as going on has this result (JSON)."""
        for position in range(len(self._messages) - 1, -1, -1):
            if self._messages[position].tool_call_id == call_id:
                self._messages[position] = Message("tool", result, tool_call_id=call_id)
                return


def forget_older_half(messages: list[Message]) -> bool:
    """Drop the older half of the turns, whole ones, which a model cannot read any more; False if only one is left."""
    turns = [position for position, message in enumerate(messages) if message.role == "user"]
    if len(turns) < 2:
        return False
    del messages[turns[0] : turns[len(turns) // 2]]
    return True
