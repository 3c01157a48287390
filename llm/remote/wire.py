"""Messages and tools in the JSON of the chat completions protocol, in the order that its strictest server wants."""

import hashlib
import re
from collections.abc import Sequence
from typing import Any

from llm.endpoint.errors import EndpointBusy, EndpointError, EndpointRefused
from llm.interface import ContextTooLong, EngineBusy, EngineUnreachable, LanguageModelError, Message, Sampling, Tool

_OPENING = "(The call has begun and the caller is listening: speak first.)"
_UNHEARD = "—"  # an agent's message of which the caller heard nothing
_ID = re.compile(r"[a-zA-Z0-9]{9}")  # the only tool call ids that Mistral's templates take
_TOO_LONG = re.compile(r"context.{0,20}(length|size|window)|too (long|large)|maximum.{0,30}tokens", re.IGNORECASE)


def messages_json(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """The conversation, with what it must not lack: someone to answer, and an answer to every tool's result."""
    wire: list[dict[str, Any]] = []
    for message in messages:
        if wire and wire[-1]["role"] == "tool" and message.role not in ("tool", "assistant"):
            wire.append({"role": "assistant", "content": _UNHEARD})
        wire.append(_message_json(message))
    if not wire or wire[-1]["role"] not in ("user", "tool"):
        wire.append({"role": "user", "content": _OPENING})
    return wire


def tools_json(tools: Sequence[Tool]) -> list[dict[str, Any]]:
    """The tools on offer."""
    return [
        {
            "type": "function",
            "function": {
                "name": tool.name,
                "description": tool.description,
                "parameters": dict(tool.parameters),
            },
        }
        for tool in tools
    ]


def sampling_json(asked: Sampling, own: Sampling, *, seed: str = "seed") -> dict[str, float]:
    """What is asked for, and the engine's own settings where nothing is; what neither decides is left to the server.

    Args:
        asked: of the request.
        own: of the engine. Its `max_tokens` bounds what may be asked for.
        seed: the server's name for it.
    """
    limits = [limit for limit in (asked.max_tokens, own.max_tokens) if limit is not None]
    fields = {
        "temperature": own.temperature if asked.temperature is None else asked.temperature,
        "top_p": own.top_p if asked.top_p is None else asked.top_p,
        seed: own.seed if asked.seed is None else asked.seed,
        "max_tokens": min(limits, default=None),
    }
    return {name: value for name, value in fields.items() if value is not None}


def language_model_error(error: EndpointError) -> LanguageModelError:
    """What an error of the server means to the caller of the language model."""
    if isinstance(error, EndpointBusy):
        return EngineBusy(str(error))
    if not isinstance(error, EndpointRefused):
        return EngineUnreachable(str(error))
    if error.status == 413 or (error.status in (400, 422) and _TOO_LONG.search(str(error))):
        return ContextTooLong(f"{error}; leave out the oldest messages")
    return LanguageModelError(str(error))


def _message_json(message: Message) -> dict[str, Any]:
    wire: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        wire["tool_calls"] = [
            {"id": _id(call.id), "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    if message.tool_call_id is not None:
        wire["tool_call_id"] = _id(message.tool_call_id)
    return wire


def _id(tool_call_id: str) -> str:
    """The id, or one made of it if another engine's is of a kind that some servers refuse."""
    return tool_call_id if _ID.fullmatch(tool_call_id) else hashlib.sha256(tool_call_id.encode()).hexdigest()[:9]
