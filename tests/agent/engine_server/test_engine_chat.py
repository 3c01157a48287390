"""/v1/chat/completions: streamed and whole, tools, errors, and clients that go away."""

import asyncio
import json
from typing import Any

import pytest

from llm.interface import ContextTooLong, EngineBusy, EngineUnreachable, Message, TextDelta, Tool, ToolCall

CHAT = "/v1/chat/completions"
USER = {"role": "user", "content": "Good morning."}
CALL = ToolCall("call00001", "look", '{"at": "clock"}')
LOOK = {"type": "function", "function": {"name": "look", "description": "Look.", "parameters": {"type": "object"}}}


async def post(served: Any, **body: Any) -> Any:
    async with served.http.post(CHAT, json={"model": "mind-1", "messages": [USER], **body}) as response:
        assert response.status == 200, await response.text()
        return await response.json() if response.content_type == "application/json" else await response.text()


def chunks(body: str) -> list[dict[str, Any]]:
    *lines, end = body.strip().split("\n\n")
    assert end == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines]


async def test_a_whole_reply(served: Any) -> None:
    reply = await post(served)
    assert reply["object"] == "chat.completion"
    assert reply["model"] == "mind-1"
    (choice,) = reply["choices"]
    assert choice["message"] == {"role": "assistant", "content": "Good day."}
    assert choice["finish_reason"] == "stop"


async def test_a_streamed_reply(served: Any) -> None:
    head, *deltas, end = chunks(await post(served, stream=True))
    assert head["choices"][0]["delta"]["role"] == "assistant"
    assert [chunk["choices"][0]["delta"]["content"] for chunk in deltas] == ["Good ", "day."]
    assert end["choices"][0]["finish_reason"] == "stop"
    assert len({chunk["id"] for chunk in (head, *deltas, end)}) == 1


async def test_tool_calls_come_whole(served: Any) -> None:
    served.mind.pieces = (TextDelta("A moment."), CALL)
    expected = {
        "index": 0,
        "id": "call00001",
        "type": "function",
        "function": {"name": "look", "arguments": '{"at": "clock"}'},
    }
    choice = (await post(served, tools=[LOOK]))["choices"][0]
    assert choice["message"]["tool_calls"] == [expected]
    assert choice["finish_reason"] == "tool_calls"
    *_, call, end = chunks(await post(served, tools=[LOOK], stream=True))
    assert call["choices"][0]["delta"] == {"tool_calls": [expected]}
    assert end["choices"][0]["finish_reason"] == "tool_calls"


async def test_usage_only_for_those_who_ask(served: Any) -> None:
    *_, last = chunks(await post(served, stream=True, stream_options={"include_usage": True}))
    assert last["choices"] == []
    assert last["usage"]["total_tokens"] == 0
    assert not any("usage" in chunk for chunk in chunks(await post(served, stream=True)))


async def test_the_conversation_reaches_the_model(served: Any) -> None:
    calls = [{"id": "call00001", "type": "function", "function": {"name": "look", "arguments": {"at": "clock"}}}]
    await post(
        served,
        messages=[
            {"role": "developer", "content": "Be kind."},
            {"role": "user", "content": [{"type": "text", "text": "What "}, {"type": "text", "text": "time?"}]},
            {"role": "assistant", "content": None, "tool_calls": calls},
            {"role": "tool", "content": "nine", "tool_call_id": "call00001"},
        ],
        tools=[LOOK],
        temperature=0.3,
        seed=1,
    )
    ((messages, tools),) = served.mind.asked
    assert messages == [
        Message("system", "Be kind."),
        Message("user", "What time?"),
        Message("assistant", "", (CALL,)),
        Message("tool", "nine", (), "call00001"),
    ]
    assert tools == [Tool("look", "Look.", {"type": "object"})]


async def test_no_tools_where_none_may_be_called(served: Any) -> None:
    await post(served, tools=[LOOK], tool_choice="none")
    ((_, tools),) = served.mind.asked
    assert list(tools) == []


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"messages": []}, 400, "messages"),
        ({"messages": [{"role": "king", "content": "Hello."}]}, 400, "messages.0.role"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, 400, "messages.0.content"),
        ({"n": 2}, 400, "n"),
        ({"response_format": {"type": "json_object"}}, 400, "response_format.type"),
        ({"tools": [LOOK], "tool_choice": "required"}, 400, "tool_choice"),
        ({"model": "gpt-9"}, 404, "model"),
    ],
)
async def test_what_cannot_be_done_is_refused(served: Any, body: dict[str, Any], status: int, param: str) -> None:
    async with served.http.post(CHAT, json={"model": "mind-1", "messages": [USER], **body}) as response:
        assert response.status == status
        assert (await response.json())["error"]["param"] == param
    assert served.mind.asked == []


@pytest.mark.parametrize(
    ("refusal", "status", "code"),
    [
        (EngineBusy("all slots are taken"), 503, "engine_busy"),
        (EngineUnreachable("it has ended"), 500, "engine_failed"),
        (ContextTooLong("200 messages, at most 100 are read"), 400, "context_length_exceeded"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_errors_of_the_engine_have_a_status(
    served: Any, refusal: Exception, status: int, code: str, stream: bool
) -> None:
    served.mind.refusal = refusal
    body = {"model": "mind-1", "messages": [USER], "stream": stream}
    async with served.http.post(CHAT, json=body) as response:
        assert response.status == status
        assert (await response.json())["error"]["code"] == code


async def test_a_failure_in_mid_reply_is_told_in_the_stream(served: Any) -> None:
    served.mind.pieces = (TextDelta("Good "), EngineUnreachable("it has ended"))
    *_, text, error = chunks(await post(served, stream=True))
    assert text["choices"][0]["delta"]["content"] == "Good "
    assert error["error"]["code"] == "engine_failed"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_cancels_its_reply(served: Any, stream: bool) -> None:
    served.mind.is_endless = True
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await post(served, stream=stream)
    (answer,) = served.mind.answers
    await asyncio.wait_for(answer.left.wait(), 5)
