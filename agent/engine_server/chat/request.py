"""What a client of `/v1/chat/completions` may ask for, in the words of OpenAI or Mistral.

What would change the answer and is not done here (several choices, a JSON schema, a tool that must be called,
penalties) is refused; what is for the provider alone (user, store, service_tier) is passed over.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AliasChoices, BaseModel, ConfigDict, Field, field_validator

from llm.interface import Message, Sampling, Tool, ToolCall
from webrtc.http.errors import RequestRefused

# Each with the values that ask for nothing, as null does.
_NOT_DONE: Mapping[str, tuple[object, ...]] = {
    "n": (1,),
    "best_of": (1,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "logit_bias": ({},),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "repetition_penalty": (1,),
    "top_k": (-1, 0),
    "min_p": (0,),
    "min_tokens": (0,),
    "ignore_eos": (False,),
    "stop_token_ids": ([],),
    "include_stop_str_in_output": (False,),
    "structured_outputs": (),
    "parallel_tool_calls": (True,),
    "functions": ([],),
    "function_call": ("none",),
    "modalities": (["text"],),
    "audio": (),
    "web_search_options": (),
    "safe_prompt": (False,),
    "prompt_mode": (),
    "guardrails": ([],),
}
_MOST_STOPS = 4  # of OpenAI
_SHOWN = 60  # characters of a wrong value


def _within(lowest: float, highest: float) -> AfterValidator:
    def check(value: float) -> float:
        if not lowest <= value <= highest:
            raise ValueError(f"wanted {lowest} to {highest}, found {value}")
        return value

    return AfterValidator(check)


def _a_share(value: float) -> float:
    if not 0 < value <= 1:
        raise ValueError(f"wanted more than 0 and at most 1, found {value}")
    return value


def _positive(value: int) -> int:
    if value < 1:
        raise ValueError(f"wanted at least 1, found {value}")
    return value


_Tokens = Annotated[int, AfterValidator(_positive)]


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
    prefix: Literal[False] | None = None

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

    model_config = ConfigDict(frozen=True, extra="allow")  # to see what is asked for in vain

    model: str
    messages: list[_Message] = Field(min_length=1)
    tools: list[_Tool] | None = None
    tool_choice: Any = None
    temperature: Annotated[float, _within(0, 2)] | None = None
    top_p: Annotated[float, AfterValidator(_a_share)] | None = None
    seed: Annotated[int, _within(-(2**63), 2**63 - 1)] | None = Field(
        default=None, validation_alias=AliasChoices("seed", "random_seed")
    )
    max_tokens: _Tokens | None = None
    max_completion_tokens: _Tokens | None = None
    stop: str | list[str] | None = None
    response_format: _ResponseFormat | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None

    @field_validator("stop")
    @classmethod
    def _few_stops(cls, stop: str | list[str] | None) -> str | list[str] | None:
        if isinstance(stop, list) and (len(stop) > _MOST_STOPS or "" in stop):
            raise ValueError(
                f"wanted up to {_MOST_STOPS} strings, none of them empty, found {json.dumps(stop)[:_SHOWN]}"
            )
        return stop

    def check(self) -> None:
        """Refuse what is not done here.

        Raises:
            RequestRefused: 400, the request wants it.
        """
        for name, value in (self.model_extra or {}).items():
            if name in _NOT_DONE and value is not None and value not in _NOT_DONE[name]:
                found = json.dumps(value)[:_SHOWN]
                raise RequestRefused(
                    400,
                    f"{name}: the engine cannot do this, found {found}: leave it out",
                    code="unsupported_parameter",
                    param=name,
                )

    def sampling(self) -> Sampling:
        """How the reply is to be drawn, and its length."""
        return Sampling(self.temperature, self.top_p, self.seed, self.max_completion_tokens or self.max_tokens)

    @property
    def stops(self) -> Sequence[str]:
        """Where the reply is to end, before any of these."""
        return [self.stop] if isinstance(self.stop, str) and self.stop else self.stop or ()

    @property
    def wants_usage(self) -> bool:
        """Whether a chunk about usage ends the stream."""
        return self.stream_options is not None and self.stream_options.include_usage

    def offered_tools(self) -> Sequence[Tool]:
        """The tools that the model may ask for.

        Raises:
            RequestRefused: 400, one of them must be called.
        """
        if self.tool_choice not in (None, "auto", "none"):
            raise RequestRefused(
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
