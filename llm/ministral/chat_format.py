"""Conversations to token ids and back in the chat format of Mistral's models, by mistral-common.

The library is loaded with the first checkpoint. Only what is new in a conversation is encoded: the ids of every
exchange are remembered.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from llm.interface import Message, Tool
from llm.runtime.weights.checkpoint import CheckpointIncomplete

if TYPE_CHECKING:
    from mistral_common.protocol.instruct.messages import ChatMessage
    from mistral_common.protocol.instruct.tool_calls import Tool as MistralTool
    from mistral_common.tokens.tokenizers.tekken import Tekkenizer

VERSION = "v13"  # the format of Ministral 3: tools before the first user message, no ids of tool calls
REMEMBERED = 4096  # exchanges, of all calls
SILENCE = Message("user", "")  # what the model answers if no question was asked


@dataclass(frozen=True, slots=True)
class ChatSpecialTokens:
    """Ids of the special tokens that a reply can hold. A model that does not think aloud has none for that."""

    end: int
    tool_call: int
    arguments: int
    think: int | None = None
    end_think: int | None = None


class ChatFormat:
    """The chat format of one checkpoint."""

    def __init__(self, tokenizer: "Tekkenizer") -> None:
        """For a tokenizer of that version; see `load`."""
        from mistral_common.protocol.instruct.normalize import InstructRequestNormalizerV13  # noqa: PLC0415
        from mistral_common.tokens.tokenizers.instruct import InstructTokenizerV13  # noqa: PLC0415

        self._tokenizer = tokenizer
        # mistral-common leaves the type parameters of both open
        self._instruct: Any = InstructTokenizerV13(tokenizer)
        self._normalizer: Any = InstructRequestNormalizerV13.normalizer()
        self._encode = lru_cache(REMEMBERED)(self._encode_exchange)
        self.special_tokens = ChatSpecialTokens(
            end=tokenizer.eos_id,
            tool_call=tokenizer.get_special_token("[TOOL_CALLS]"),
            arguments=tokenizer.get_special_token("[ARGS]"),
            think=self._instruct.BEGIN_THINK,
            end_think=self._instruct.END_THINK,
        )

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The format of a checkpoint folder.

        Raises:
            CheckpointIncomplete: tekken.json is missing or of another kind.
        """
        from mistral_common.tokens.tokenizers.tekken import Tekkenizer  # noqa: PLC0415  # slow to import

        file = folder / "tekken.json"
        if not file.is_file():
            raise CheckpointIncomplete(f"{folder} has no tekken.json; download the checkpoint again")
        try:
            tokenizer = Tekkenizer.from_file(file)
            if tokenizer.version != VERSION:
                raise ValueError(f"its version is {tokenizer.version.value}")
            return cls(tokenizer)
        except (AssertionError, KeyError, TypeError, ValueError) as error:
            raise CheckpointIncomplete(
                f"{file} is not a chat tokenizer of version {VERSION} ({error!s:.120}); use a Ministral 3 model"
            ) from None

    @property
    def vocabulary(self) -> int:
        """Number of ids."""
        return self._tokenizer.n_words

    def prompt(self, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> list[int]:
        """Ids of the conversation, up to where the assistant's next message begins.

        The ids of a longer conversation begin with those of the shorter one, except for messages of one role in a row,
        which become one. A conversation that does not end with a question is answered as if to silence.
        """
        if not messages or messages[-1].role not in ("user", "tool"):
            messages = (*messages, SILENCE)
        offered = json.dumps([(tool.name, tool.description, tool.parameters) for tool in tools]) if tools else ""
        ids: list[int] = self._instruct.start()
        for exchange in _exchanges(messages):
            is_question = exchange[0].role == "user"
            ids += self._encode(exchange, offered if is_question else "")
            if is_question:
                offered = ""  # they stand before the first question
        return ids

    def bytes_of(self, token: int) -> bytes:
        """The piece of UTF-8 that a text token stands for; nothing for a special token."""
        from mistral_common.tokens.tokenizers.base import SpecialTokenPolicy  # noqa: PLC0415

        return self._tokenizer.id_to_byte_piece(token, SpecialTokenPolicy.IGNORE)

    def _encode_exchange(self, exchange: tuple[Message, ...], tools: str) -> list[int]:
        """Ids of one exchange, whatever stands before it; `tools` is a JSON list of (name, description, schema)."""
        from mistral_common.protocol.instruct.request import ChatCompletionRequest  # noqa: PLC0415

        request = ChatCompletionRequest(
            messages=[_to_chat_message(message) for message in exchange],
            tools=[_tool(*tool) for tool in json.loads(tools)] if tools else None,
        )
        encoded = self._instruct.encode_instruct(self._normalizer.from_chat_completion_request(request))
        return encoded.tokens[len(self._instruct.start()) :]


def _exchanges(messages: Sequence[Message]) -> Iterator[tuple[Message, ...]]:
    """Messages of one role in a row, which become one; results stay with the calls that they are matched to."""
    exchange: list[Message] = []
    for message in messages:
        if not message.content and not message.tool_calls and message.role == "assistant":
            continue  # nothing was heard of it
        if exchange and message.role not in (exchange[-1].role, "tool"):
            yield tuple(exchange)
            exchange.clear()
        exchange.append(message)
    if exchange:
        yield tuple(exchange)


def _to_chat_message(message: Message) -> "ChatMessage":
    from mistral_common.protocol.instruct import messages, tool_calls  # noqa: PLC0415

    match message.role:
        case "system":
            return messages.SystemMessage(content=message.content)
        case "user":
            return messages.UserMessage(content=message.content)
        case "tool":
            return messages.ToolMessage(content=message.content, tool_call_id=message.tool_call_id or "unknown")
        case "assistant":
            calls = [
                tool_calls.ToolCall(
                    id=call.id, function=tool_calls.FunctionCall(name=call.name, arguments=call.arguments)
                )
                for call in message.tool_calls
            ]
            return messages.AssistantMessage(content=message.content or None, tool_calls=calls or None)


def _tool(name: str, description: str, parameters: dict[str, Any]) -> "MistralTool":
    from mistral_common.protocol.instruct import tool_calls  # noqa: PLC0415

    return tool_calls.Tool(function=tool_calls.Function(name=name, description=description, parameters=parameters))
