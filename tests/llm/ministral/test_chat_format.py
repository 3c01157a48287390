"""The chat format against mistral-common's own way to encode a whole conversation."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from mistral_common.protocol.instruct.normalize import InstructRequestNormalizerV13
from mistral_common.protocol.instruct.request import ChatCompletionRequest
from mistral_common.tokens.tokenizers.instruct import InstructTokenizerV13
from mistral_common.tokens.tokenizers.tekken import Tekkenizer

from llm.interface import Message, Tool, ToolCall
from llm.ministral.chat_format import ChatFormat
from llm.runtime.weights.checkpoint import CheckpointIncomplete

WEATHER = Tool("weather", "Naïve weather.", {"type": "object", "properties": {"city": {"type": "string"}}})
CLOCK = Tool("clock", "", {"type": "object", "properties": {}})
CALLS = (ToolCall("a23456789", "weather", '{"city":"Zürich"}'), ToolCall("b23456789", "clock", "{}"))
TALK = (
    Message("system", "Be kind."),
    Message("assistant", "Hello, I am Parley."),
    Message("user", "Is it raining in Zürich?"),
    Message("assistant", "Let me see.", CALLS),
    Message("tool", '{"rain": false}', tool_call_id="a23456789"),
    Message("tool", "nine", tool_call_id="b23456789"),
    Message("assistant", "It is dry, and—"),
    Message("user", "Thanks."),
)


@pytest.fixture(scope="module")
def chat(tekken: Path) -> ChatFormat:
    return ChatFormat.load(tekken.parent)


def reference(tekken: Path, messages: Sequence[Message], tools: Sequence[Tool]) -> list[int]:
    wire = [
        {"role": message.role}
        | ({"content": message.content} if message.content or not message.tool_calls else {})
        | ({"tool_call_id": message.tool_call_id} if message.tool_call_id else {})
        | (
            {
                "tool_calls": [
                    {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
                    for call in message.tool_calls
                ]
            }
            if message.tool_calls
            else {}
        )
        for message in messages
    ]
    offered = [
        {"type": "function", "function": {"name": t.name, "description": t.description, "parameters": t.parameters}}
        for t in tools
    ]
    request = ChatCompletionRequest.from_openai(wire, offered or None)
    normalized = InstructRequestNormalizerV13.normalizer().from_chat_completion_request(request)
    return InstructTokenizerV13(Tekkenizer.from_file(tekken)).encode_instruct(normalized).tokens


@pytest.mark.parametrize("tools", [(), (WEATHER, CLOCK)], ids=["alone", "tools"])
@pytest.mark.parametrize("length", [3, 6, 8])
def test_equals_mistral_common(chat: ChatFormat, tekken: Path, length: int, tools: tuple[Tool, ...]) -> None:
    assert chat.prompt(TALK[:length], tools) == reference(tekken, TALK[:length], tools)


def test_messages_of_one_role_become_one(chat: ChatFormat, tekken: Path) -> None:
    talk = (Message("user", "One."), Message("user", "Two."), *TALK[1:3])
    assert chat.prompt(talk) == reference(tekken, talk, ())
    assert chat.prompt(talk) != chat.prompt((Message("user", "One."), *talk[2:]))


def test_a_longer_conversation_begins_with_the_shorter(chat: ChatFormat) -> None:
    whole = chat.prompt(TALK, (WEATHER,))
    for length in (3, 6):
        shorter = chat.prompt(TALK[:length], (WEATHER,))
        assert whole[: len(shorter)] == shorter


def test_a_conversation_without_a_question_is_answered_as_if_to_silence(chat: ChatFormat) -> None:
    silence = Message("user", "")
    for talk in ((), TALK[:1], TALK[:2]):
        assert chat.prompt(talk) == chat.prompt((*talk, silence))
    assert chat.prompt((Message("assistant", ""),)) == chat.prompt(())  # of which nothing was heard


def test_results_are_matched_to_their_calls(chat: ChatFormat) -> None:
    swapped = (*TALK[:4], TALK[5], TALK[4])
    assert chat.prompt(swapped) == chat.prompt(TALK[:6])


def test_bytes_of_text_and_of_markers(chat: ChatFormat) -> None:
    ids = chat.prompt((Message("user", "日本 naïve"),))
    assert b"".join(map(chat.bytes_of, ids)).decode() == "日本 naïve"
    assert ids[0] == 1
    assert chat.bytes_of(chat.special_tokens.tool_call) == b""


def test_other_tokenizers_are_refused(tekken: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointIncomplete, match=r"has no tekken\.json"):
        ChatFormat.load(tmp_path)
    content = json.loads(tekken.read_text())
    content["config"]["version"] = "v7"
    (tmp_path / "tekken.json").write_text(json.dumps(content))
    with pytest.raises(CheckpointIncomplete, match="its version is v7"):
        ChatFormat.load(tmp_path)
    (tmp_path / "tekken.json").write_text('{"config": {}}')
    with pytest.raises(CheckpointIncomplete, match="not a chat tokenizer"):
        ChatFormat.load(tmp_path)
