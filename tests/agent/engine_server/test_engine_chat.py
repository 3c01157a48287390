"""/v1/chat/completions: streamed and whole, tools, errors, and clients that go away."""

import asyncio
import json
from itertools import pairwise
from typing import Any

import pytest

from llm.interface import (
    ContextTooLong,
    Ending,
    EngineBusy,
    EngineUnreachable,
    Message,
    Sampling,
    TextDelta,
    Tool,
    ToolCall,
)
from tests.fakes import PATIENCE_S

CHAT = "/v1/chat/completions"
USER = {"role": "user", "content": "Good morning."}
CALL = ToolCall("call00001", "look", '{"at": "clock"}')
LOOK = {"type": "function", "function": {"name": "look", "description": "Look.", "parameters": {"type": "object"}}}


async def post(served: Any, **body: Any) -> Any:
    async with served.http.post(CHAT, json={"model": "llm-1", "messages": [USER], **body}) as response:
        assert response.status == 200, await response.text()
        return await response.json() if response.content_type == "application/json" else await response.text()


def chunks(body: str) -> list[dict[str, Any]]:
    *lines, end = body.strip().split("\n\n")
    assert end == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines]


async def test_a_whole_reply(served: Any) -> None:
    reply = await post(served)
    assert reply["object"] == "chat.completion"
    assert reply["model"] == "llm-1"
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
    served.language_model.pieces = (TextDelta("A moment."), CALL)
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
    served.language_model.ending = Ending(prompt_tokens=7, reply_tokens=2)
    *others, last = chunks(await post(served, stream=True, stream_options={"include_usage": True}))
    assert last["choices"] == []
    assert last["usage"] == {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
    assert [chunk["usage"] for chunk in others] == [None] * len(others)
    assert not any("usage" in chunk for chunk in chunks(await post(served, stream=True)))


async def test_an_engine_that_does_not_count_says_so(served: Any) -> None:
    unknown = {"prompt_tokens": None, "completion_tokens": None, "total_tokens": None}
    assert (await post(served))["usage"] == unknown
    *_, last = chunks(await post(served, stream=True, stream_options={"include_usage": True}))
    assert last["usage"] == unknown


async def test_a_reply_that_was_cut(served: Any) -> None:
    served.language_model.ending = Ending(is_cut=True)
    assert (await post(served))["choices"][0]["finish_reason"] == "length"
    assert chunks(await post(served, stream=True))[-1]["choices"][0]["finish_reason"] == "length"


async def test_how_the_reply_is_to_be_drawn(served: Any) -> None:
    for body, sampling in [
        ({}, Sampling()),
        ({"temperature": 0, "top_p": 1, "seed": -1}, Sampling(0.0, 1.0, -1)),
        ({"random_seed": 5, "max_tokens": 9}, Sampling(seed=5, max_tokens=9)),
        ({"max_completion_tokens": 3, "max_tokens": 9}, Sampling(max_tokens=3)),
        ({"max_completion_tokens": None, "max_tokens": 9}, Sampling(max_tokens=9)),
    ]:
        await post(served, **body)
        *_, (_, _, asked) = served.language_model.asked
        assert asked == sampling


async def test_a_reply_ends_before_a_stop_string(served: Any) -> None:
    for cuts in [(), (4,), (9, 10, 11, 12), tuple(range(1, 24))]:
        for stop, text in [
            ("day", "Good "),
            (["wait.", "morning", "og"], "Good day, good "),
            ([".", ", g"], "Good day"),
            ("ood d", "G"),
            ("good morning.!", "Good day, good morning."),
            ("Good", ""),
            ([], "Good day, good morning."),
            ("", "Good day, good morning."),
        ]:
            whole = "Good day, good morning."
            borders = [0, *cuts, len(whole)]
            pieces = [TextDelta(whole[start:end]) for start, end in pairwise(borders) if start < end]
            served.language_model.pieces = (*pieces, CALL)
            choice = (await post(served, stop=stop))["choices"][0]
            is_stopped = text != whole
            assert (choice["message"]["content"] or "") == text
            assert choice["finish_reason"] == ("stop" if is_stopped else "tool_calls")
            assert served.language_model.answers[-1].is_cancelled == is_stopped
            deltas = [chunk["choices"][0]["delta"] for chunk in chunks(await post(served, stop=stop, stream=True))]
            assert "".join(delta.get("content", "") for delta in deltas) == text
            assert any("tool_calls" in delta for delta in deltas) != is_stopped


async def test_stopped_is_not_cut(served: Any) -> None:
    served.language_model.ending = Ending(
        is_cut=True, prompt_tokens=7, reply_tokens=2
    )  # for the engine is ahead of the reader
    reply = await post(served, stop="day")
    assert reply["choices"][0]["finish_reason"] == "stop"
    assert reply["usage"]["completion_tokens"] == 2


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
    ((messages, tools, sampling),) = served.language_model.asked
    assert messages == [
        Message("system", "Be kind."),
        Message("user", "What time?"),
        Message("assistant", "", (CALL,)),
        Message("tool", "nine", (), "call00001"),
    ]
    assert tools == [Tool("look", "Look.", {"type": "object"})]
    assert sampling == Sampling(temperature=0.3, seed=1)


async def test_no_tools_where_none_may_be_called(served: Any) -> None:
    await post(served, tools=[LOOK], tool_choice="none")
    ((_, tools, _),) = served.language_model.asked
    assert list(tools) == []


async def test_what_cannot_be_done_is_refused(served: Any) -> None:
    for body, status, param in [
        ({"messages": []}, 400, "messages"),
        ({"messages": [{"role": "king", "content": "Hello."}]}, 400, "messages.0.role"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, 400, "messages.0.content"),
        ({"n": 2}, 400, "n"),
        ({"response_format": {"type": "json_object"}}, 400, "response_format.type"),
        ({"tools": [LOOK], "tool_choice": "required"}, 400, "tool_choice"),
        ({"logprobs": True}, 400, "logprobs"),
        ({"logit_bias": {"17": 5}}, 400, "logit_bias"),
        ({"presence_penalty": 0.5}, 400, "presence_penalty"),
        ({"parallel_tool_calls": False}, 400, "parallel_tool_calls"),
        ({"messages": [{"role": "assistant", "content": "Good", "prefix": True}]}, 400, "messages.0.prefix"),
        ({"model": "gpt-9"}, 404, "model"),
    ]:
        async with served.http.post(CHAT, json={"model": "llm-1", "messages": [USER], **body}) as response:
            assert response.status == status
            assert (await response.json())["error"]["param"] == param
        assert served.language_model.asked == []


async def test_a_value_out_of_range_is_named(served: Any) -> None:
    for field, value, message in [
        ("temperature", 2.5, "temperature: wanted 0 to 2, found 2.5"),
        ("temperature", -1, "temperature: wanted 0 to 2, found -1.0"),
        ("temperature", float("nan"), "temperature: wanted 0 to 2, found nan"),
        ("temperature", "hot", "temperature: Input should be a valid number, unable to parse string as a number, "),
        ("top_p", 0, "top_p: wanted more than 0 and at most 1, found 0.0"),
        ("top_p", 1.1, "top_p: wanted more than 0 and at most 1, found 1.1"),
        ("seed", 2**63, f"seed: wanted {-(2**63)} to {2**63 - 1}, found {2**63}"),
        ("seed", 1.5, "seed: Input should be a valid integer, got a number with a fractional part, found 1.5"),
        ("max_tokens", 0, "max_tokens: wanted at least 1, found 0"),
        ("max_completion_tokens", -3, "max_completion_tokens: wanted at least 1, found -3"),
        ("stop", ["a", ""], 'stop: wanted up to 4 strings, none of them empty, found ["a", ""]'),
        ("n", 3, "n: the engine cannot do this, found 3: leave it out"),
    ]:
        body = {"model": "llm-1", "messages": [USER], field: value}
        async with served.http.post(CHAT, data=json.dumps(body)) as response:
            assert response.status == 400
            error = (await response.json())["error"]
        assert error["message"].startswith(message)
        assert "\n" not in error["message"]
        assert error["param"] == field
        assert served.language_model.asked == []


async def test_what_asks_for_nothing_is_welcome(served: Any) -> None:
    nothing = {"n": 1, "logprobs": False, "logit_bias": None, "presence_penalty": 0.0, "parallel_tool_calls": True}
    await post(served, **nothing, user="somebody", store=False)


async def test_errors_of_the_engine_have_a_status(served: Any) -> None:
    for refusal, status, code in [
        (EngineBusy("all slots are taken"), 503, "engine_busy"),
        (EngineUnreachable("it has ended"), 500, "engine_failed"),
        (ContextTooLong("200 messages, at most 100 are read"), 400, "context_length_exceeded"),
    ]:
        for stream in [False, True]:
            served.language_model.refusal = refusal
            body = {"model": "llm-1", "messages": [USER], "stream": stream}
            async with served.http.post(CHAT, json=body) as response:
                assert response.status == status
                assert (await response.json())["error"]["code"] == code


async def test_a_failure_in_mid_reply_is_told_in_the_stream(served: Any) -> None:
    served.language_model.pieces = (TextDelta("Good "), EngineUnreachable("it has ended"))
    *_, text, error = chunks(await post(served, stream=True))
    assert text["choices"][0]["delta"]["content"] == "Good "
    assert error["error"]["code"] == "engine_failed"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_cancels_its_reply(served: Any, stream: bool) -> None:
    served.language_model.is_endless = True
    client = asyncio.create_task(post(served, stream=stream))
    await asyncio.wait_for(served.language_model.arrived.wait(), PATIENCE_S)
    client.cancel()
    (answer,) = served.language_model.answers
    await asyncio.wait_for(answer.left.wait(), PATIENCE_S)
