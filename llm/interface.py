"""What the rest of Parley knows of a language model.

Errors::

    LanguageModelError
    |- EngineBusy           no free slot; try again later or elsewhere
    |- EngineUnreachable    the engine's process or server does not answer
    |- ContextTooLong       the messages do not fit the model's context
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Literal, Protocol, Self


class LanguageModelError(Exception):
    """A language model could not do what was asked; the message says what was wanted, what was found and what to do."""


class EngineBusy(LanguageModelError):
    """Every slot of the engine is taken."""


class EngineUnreachable(LanguageModelError):
    """The engine's process or server does not answer."""


class ContextTooLong(LanguageModelError):
    """The messages do not fit the model's context."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """The model's wish to run a tool."""

    id: str
    name: str
    arguments: str  # a JSON object


@dataclass(frozen=True, slots=True)
class Message:
    """One message of the conversation, in the roles of the chat completions protocol."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str
    tool_calls: tuple[ToolCall, ...] = ()  # of an assistant message
    tool_call_id: str | None = None  # of a tool message: the call it answers


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the model may ask for."""

    name: str
    description: str
    parameters: Mapping[str, Any]  # JSON schema of the arguments object


@dataclass(frozen=True, slots=True)
class TextDelta:
    """The next piece of the reply's text, any length."""

    text: str


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a reply is drawn and how long it may be. What is None is for the engine's settings to decide."""

    temperature: float | None = None  # 0, always the likeliest token, to 2
    top_p: float | None = None  # above 0, at most 1
    seed: int | None = None  # signed, 64 bits; the same one draws the same reply
    max_tokens: int | None = None  # at least 1; the engine's own limit holds beside it


AS_SET = Sampling()


@dataclass(frozen=True, slots=True)
class Ending:
    """How a reply ended. The tokens are None where the engine does not count them."""

    is_cut: bool = False  # it was as long as it may be
    prompt_tokens: int | None = None
    reply_tokens: int | None = None  # all that were written, also those of tool calls, thoughts and the end


class Reply(AbstractAsyncContextManager["Reply"], Protocol):
    """One reply being generated. Leaving the context stops the work and frees its slot."""

    def __aiter__(self) -> Self: ...

    async def __anext__(self) -> TextDelta | ToolCall: ...

    def cancel(self) -> None:
        """End it: after this returns no piece is delivered. Twice is harmless."""
        ...

    @property
    def ending(self) -> Ending:
        """How it ended; to be asked after its last piece."""
        ...


class LanguageModel(Protocol):
    """An engine that replies for many calls."""

    def reply(self, messages: Sequence[Message], tools: Sequence[Tool] = (), sampling: Sampling = AS_SET) -> Reply:
        """The assistant's next message: text in pieces, then the tool calls, each whole.

        Entering the returned context raises EngineBusy, EngineUnreachable or ContextTooLong.
        """
        ...
