"""From the tokens of a reply to its pieces: text as soon as its characters are whole, then tool calls, each whole."""

import codecs
from collections.abc import Callable
from typing import Literal

from llm.interface import TextDelta, ToolCall
from llm.ministral.chat_format import ChatSpecialTokens

Piece = TextDelta | ToolCall


class ReplyPieces:
    """One reply being taken apart."""

    def __init__(
        self, special_tokens: ChatSpecialTokens, bytes_of: Callable[[int], bytes], first_call: int = 0
    ) -> None:
        """The reply's tool calls are numbered from `first_call`, so that no two of a conversation have one id."""
        self._special_tokens = special_tokens
        self._bytes_of = bytes_of
        self._next_call = first_call
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._part: Literal["text", "thought", "name", "arguments"] = "text"
        self._name = ""
        self._arguments = ""

    @property
    def is_in_call(self) -> bool:
        """Whether the last tool call may not be whole."""
        return self._part in ("name", "arguments")

    def add(self, token: int) -> list[Piece]:
        """What the reply's next token completes."""
        special = self._special_tokens
        if token == special.tool_call:
            pieces = self._finish_call()
            self._part = "name"
            return pieces
        if token == special.arguments and self._part == "name":
            self._part = "arguments"
        elif token == special.think and self._part == "text":
            self._part = "thought"
        elif token == special.end_think and self._part == "thought":
            self._part = "text"
        text = self._decoder.decode(self._bytes_of(token))
        match self._part:
            case "text":
                return [TextDelta(text)] if text else []
            case "name":
                self._name += text
            case "arguments":
                self._arguments += text
            case "thought":  # not for the caller
                pass
        return []

    def end(self) -> list[Piece]:
        """What the end of the reply completes. A last character of which bytes are missing is dropped."""
        pieces = self._finish_call()
        self._part = "text"
        return pieces

    def _finish_call(self) -> list[Piece]:
        name, arguments = self._name.strip(), self._arguments.strip() or "{}"
        self._name = self._arguments = ""
        self._decoder.reset()
        if not self.is_in_call or not name:
            return []
        call = ToolCall(f"call{self._next_call:05d}", name, arguments)  # nine letters or digits, as Mistral wants
        self._next_call += 1
        return [call]
