"""What a client of `/v1/chat/completions` may ask for, in the words of OpenAI or Mistral.

The interface of our language models has messages and tools. How a reply is drawn (temperature, top_p, seed, length) is
decided by the engine's settings, so these fields are ignored; what would change the shape of the answer (several
choices, a JSON schema, a tool that must be called) is refused.
"""

import json
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from agent.engine_server.errors import ApiError
from llm.interface import Message, Tool, ToolCall


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    type: str
    text: str = ""


class _Function(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    arguments: str | dict[str, Any] = "{}"


class _Call(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str
    function: _Function


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[_Part] | None = None
    tool_calls: list[_Call] | None = None
    tool_call_id: str | None = None

    @field_validator("content")
    @classmethod
    def _text_only(cls, content: str | list[_Part] | None) -> str | list[_Part] | None:
        if isinstance(content, list) and (others := {part.type for part in content} - {"text"}):
            raise ValueError(f"wanted text, found {', '.join(sorted(others))}: leave it out")
        return content


class _Declaration(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None


class _Tool(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    type: Literal["function"] = "function"
    function: _Declaration


class _StreamOptions(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    include_usage: bool = False


class _ResponseFormat(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    type: Literal["text"]


class ChatRequest(BaseModel):
    """The body of a request."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    model: str
    messages: list[_Message] = Field(min_length=1)
    tools: list[_Tool] | None = None
    tool_choice: Any = None
    n: Literal[1] | None = None
    response_format: _ResponseFormat | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None

    @property
    def wants_usage(self) -> bool:
        """Whether a chunk about usage ends the stream."""
        return self.stream_options is not None and self.stream_options.include_usage

    def offered_tools(self) -> Sequence[Tool]:
        """The tools that the model may ask for.

        Raises:
            ApiError: 400, one of them must be called.
        """
        if self.tool_choice not in (None, "auto", "none"):
            raise ApiError(
                400,
                "wanted a tool that must be called, but the engine knows auto and none: choose one of these",
                code="invalid_request",
                param="tool_choice",
            )
        if self.tool_choice == "none":
            return ()
        return [
            Tool(
                tool.function.name,
                tool.function.description or "",
                tool.function.parameters or {"type": "object", "properties": {}},
            )
            for tool in self.tools or ()
        ]

    def conversation(self) -> Sequence[Message]:
        """The messages."""
        return [
            Message(
                "system" if message.role == "developer" else message.role,
                _text(message.content),
                tuple(
                    ToolCall(call.id, call.function.name, _arguments(call.function.arguments))
                    for call in message.tool_calls or ()
                ),
                message.tool_call_id,
            )
            for message in self.messages
        ]


def _text(content: str | list[_Part] | None) -> str:
    return "".join(part.text for part in content) if isinstance(content, list) else content or ""


def _arguments(arguments: str | dict[str, Any]) -> str:
    """As JSON text, which Mistral's client may send as the object itself."""
    return arguments if isinstance(arguments, str) else json.dumps(arguments)
