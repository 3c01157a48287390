"""Chunks of a streamed chat completion into the pieces of a reply: text as it comes, tool calls when they are whole."""

import json
from collections.abc import AsyncGenerator, AsyncIterable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from llm.endpoint.errors import EndpointUnreachable, said_by
from llm.endpoint.sse import Event
from llm.interface import Ending, TextDelta, ToolCall

_DONE = "[DONE]"


class _CalledFunction(BaseModel):
    name: str | None = None
    arguments: str | dict[str, Any] | None = None


class _ToolCallPiece(BaseModel):
    index: int | None = None
    id: str | None = None
    function: _CalledFunction = Field(default_factory=_CalledFunction)


class _ContentPiece(BaseModel):
    type: str = ""
    text: str = ""


class _Delta(BaseModel):
    content: str | list[_ContentPiece] | None = None
    tool_calls: list[_ToolCallPiece] | None = None


class _Choice(BaseModel):
    delta: _Delta = Field(default_factory=_Delta)
    finish_reason: str | None = None


class _Usage(BaseModel):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class Chunk(BaseModel):
    """One chunk, of which only what a reply needs is looked at."""

    model_config = ConfigDict(extra="ignore")

    choices: list[_Choice] = Field(default_factory=list[_Choice])
    usage: _Usage | None = None


@dataclass(slots=True)
class _OpenCall:
    id: str = ""
    name: str = ""
    arguments: str = ""


class ReplyAssembler:
    """Takes the chunks of one reply."""

    def __init__(self) -> None:
        self._calls: dict[int, _OpenCall] = {}
        self._usage = _Usage()
        self.finish_reason: str | None = None

    @property
    def ending(self) -> Ending:
        """How the reply ended, when the stream has."""
        return Ending(self.finish_reason == "length", self._usage.prompt_tokens, self._usage.completion_tokens)

    def add(self, chunk: Chunk) -> str:
        """The text in a chunk, "" if there is none."""
        text = ""
        self._usage = chunk.usage or self._usage  # some servers count in every chunk
        for choice in chunk.choices[:1]:
            self.finish_reason = choice.finish_reason or self.finish_reason
            for piece in choice.delta.tool_calls or ():
                self._add_call(piece)
            content = choice.delta.content
            if isinstance(content, list):  # reasoning models: thoughts are of another type
                content = "".join(piece.text for piece in content if piece.type == "text")
            text += content or ""
        return text

    def whole_calls(self, url: str, *, is_done: bool = False) -> list[ToolCall]:
        """The tool calls, in the model's order, when the stream has ended.

        Args:
            url: whose stream it was.
            is_done: whether the server said so; else the model must have said why it finished.

        Raises:
            EndpointUnreachable: it ended in mid-reply; a call has no name.
        """
        if self.finish_reason == "error":
            raise EndpointUnreachable(f"{url} gave the reply up in the middle: look at the server's log")
        if not is_done and self.finish_reason is None:
            raise EndpointUnreachable(f"{url} ended in the middle of a reply: look at the server's log")
        whole = [ToolCall(call.id, call.name, call.arguments or "{}") for call in self._calls.values()]
        if not all(call.name for call in whole):
            raise EndpointUnreachable(f"{url} sent a tool call without a name: look at its tool parser")
        return whole

    def _add_call(self, piece: _ToolCallPiece) -> None:
        """Pieces of one call share an index; without one, a piece with a name begins the next call."""
        index = piece.index
        if index is None:
            index = len(self._calls) - (0 if piece.function.name or not self._calls else 1)
        call = self._calls.setdefault(index, _OpenCall(id=f"call{index}"))
        call.id = piece.id or call.id
        call.name += piece.function.name or ""
        arguments = piece.function.arguments or ""
        call.arguments += arguments if isinstance(arguments, str) else json.dumps(arguments)


async def pieces(url: str, events: AsyncIterable[Event]) -> AsyncGenerator[TextDelta | ToolCall | Ending, None]:
    """The reply in a stream of events; last, how it ended.

    A missing [DONE] is forgiven if the model has said why it finished.

    Raises:
        EndpointUnreachable: an error or a malformed chunk in mid-stream, or an end in mid-reply.
    """
    reply = ReplyAssembler()
    is_done = False
    async for event in events:
        if event.data == _DONE:
            is_done = True
            break
        if text := reply.add(_chunk(url, event)):
            yield TextDelta(text)
    for call in reply.whole_calls(url, is_done=is_done):
        yield call
    yield reply.ending


def _chunk(url: str, event: Event) -> Chunk:
    try:
        found: Any = json.loads(event.data)
        if event.name == "error" or (isinstance(found, dict) and "error" in found):
            raise EndpointUnreachable(f"{url} failed in the middle of a reply ({said_by(event.data) or 'no reason'})")
        return Chunk.model_validate(found)
    except ValueError:  # no JSON, or not of that shape
        raise EndpointUnreachable(f"{url} sent a malformed chunk: check that it speaks chat completions") from None
