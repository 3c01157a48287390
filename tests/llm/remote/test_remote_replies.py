"""Replies from other people's servers: what is asked of them, what they may send, and how they may fail."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from mistralai.client import Mistral
from pydantic import ValidationError

from llm.config import ChatConfig
from llm.interface import (
    ContextTooLong,
    Ending,
    EngineBusy,
    EngineUnreachable,
    LanguageModel,
    LanguageModelError,
    Message,
    Sampling,
    TextDelta,
    Tool,
    ToolCall,
)
from tests.fakes import PATIENCE_S
from tests.fakes.chat_clients import HELLO, chat, pieces_of, until_error

WEATHER = Tool("weather", "The weather.", {"type": "object", "properties": {"city": {"type": "string"}}})
Make = Callable[..., Any]
DONE = "data: [DONE]\n\n"


def line(delta: Any, finish_reason: str | None = None, index: int = 0) -> str:
    choice = {"index": index, "delta": delta, "finish_reason": finish_reason}
    return f"data: {json.dumps({'id': '1', 'object': 'chat.completion.chunk', 'model': 'm', 'choices': [choice]})}\n\n"


async def test_what_is_asked(make: Make, chat_server: Any) -> None:
    async with make(chat_server, temperature=0.3, top_p=0.9, max_tokens=50, seed=7) as engine:
        await pieces_of(engine, HELLO, [WEATHER])
    asked = chat_server.bodies[-1]
    assert chat_server.keys == ["Bearer sk-very-secret"]
    assert asked["messages"] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello."}]
    assert (asked["model"], asked["stream"], asked["temperature"], asked["top_p"]) == ("m", True, 0.3, 0.9)
    assert asked["max_tokens"] == 50
    assert asked["seed" if make is chat else "random_seed"] == 7
    function = {"name": "weather", "description": "The weather.", "parameters": WEATHER.parameters}
    assert asked["tools"][0]["type"] == "function"
    assert asked["tools"][0]["function"].items() >= function.items()


async def test_what_is_asked_of_one_reply_goes_before_the_settings(make: Make, chat_server: Any) -> None:
    asked = Sampling(temperature=0.0, top_p=0.5, seed=0, max_tokens=9)
    async with (
        make(chat_server, temperature=0.3, top_p=0.9, max_tokens=50, seed=7) as engine,
        engine.reply(HELLO, sampling=asked) as reply,
    ):
        assert [piece async for piece in reply]
    body = chat_server.bodies[-1]
    assert (body["temperature"], body["top_p"], body["max_tokens"]) == (0.0, 0.5, 9)
    assert body["seed" if make is chat else "random_seed"] == 0
    async with make(chat_server, max_tokens=50) as engine, engine.reply(HELLO, sampling=Sampling(max_tokens=99)):
        assert chat_server.bodies[-1]["max_tokens"] == 50  # the settings bound it


async def test_how_a_reply_ended(engine: LanguageModel, chat_server: Any) -> None:
    usage = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
    counted = {"id": "1", "object": "chat.completion.chunk", "model": "m", "choices": [], "usage": usage}
    chat_server.says(line({"content": "Hi."}), line({}, "length"), f"data: {json.dumps(counted)}\n\n", DONE)
    for ending in (Ending(True, 7, 2), Ending()):  # the second time nothing is counted
        async with engine.reply(HELLO) as reply:
            assert [piece async for piece in reply]
            assert reply.ending == ending


async def test_a_server_is_asked_to_count(chat_server: Any) -> None:
    async with chat(chat_server) as engine:
        await pieces_of(engine)
    assert chat_server.bodies[-1]["stream_options"] == {"include_usage": True}


async def test_what_is_not_set_is_left_to_the_server(engine: LanguageModel, chat_server: Any) -> None:
    await pieces_of(engine)
    assert not {"temperature", "top_p", "seed", "random_seed", "tools"} & chat_server.bodies[-1].keys()


async def test_further_fields_of_a_request(chat_server: Any) -> None:
    async with chat(chat_server, extra={"chat_template_kwargs": {"enable_thinking": False}}) as engine:
        await pieces_of(engine)
    assert chat_server.bodies[-1]["chat_template_kwargs"] == {"enable_thinking": False}


async def test_the_order_that_the_strictest_server_wants(engine: LanguageModel, chat_server: Any) -> None:
    call = ToolCall("call-from-elsewhere", "weather", '{"city": "Rome"}')
    messages = [
        Message("user", "And Rome?"),
        Message("assistant", "", (call,)),
        Message("tool", '{"sky": "blue"}', tool_call_id=call.id),
        Message("user", "Never mind."),
    ]
    await pieces_of(engine, messages)
    asked = chat_server.bodies[-1]["messages"]
    assert [message["role"] for message in asked] == ["user", "assistant", "tool", "assistant", "user"]
    ids = {asked[1]["tool_calls"][0]["id"], asked[2]["tool_call_id"]}
    assert len(ids) == 1
    assert len(ids.pop()) == 9
    await pieces_of(engine, HELLO[:1])
    assert [message["role"] for message in chat_server.bodies[-1]["messages"]] == ["system", "user"]


async def test_text_and_what_surrounds_it(chat_server: Any) -> None:
    chat_server.says(
        ": a comment\n\n",
        line({"role": "assistant"}),
        line({"content": None}),
        line({"reasoning": "hm", "content": ""}),
        line({"content": "Hel"}),
        line({"content": "lo."}),
        'data: {"choices": [], "usage": {"total_tokens": 3}}\n\n',
        line({}, "stop"),
        DONE,
    )
    async with chat(chat_server) as engine:
        assert await pieces_of(engine) == [TextDelta("Hel"), TextDelta("lo.")]


async def test_thoughts_are_not_said(engine: LanguageModel, chat_server: Any) -> None:
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
    chat_server.says(line({"content": [thought, {"type": "text", "text": "Hi."}]}), line({}, "stop"), DONE)
    assert await pieces_of(engine) == [TextDelta("Hi.")]


async def test_a_missing_done_is_forgiven(engine: LanguageModel, chat_server: Any) -> None:
    chat_server.says(line({"content": "Hi."}), line({}, "stop"))
    assert await pieces_of(engine) == [TextDelta("Hi.")]


async def test_tool_calls_in_pieces_late_and_mixed(chat_server: Any) -> None:
    def call(index: int, **function: str) -> dict[str, Any]:
        return {"index": index, **({"id": f"id{index}"} if "name" in function else {}), "function": function}

    chat_server.says(
        line({"tool_calls": [call(0, name="weather", arguments="")]}),
        line({"tool_calls": [call(1, name="weather", arguments='{"city"')]}),
        line({"tool_calls": [call(0, arguments='{"city": ')]}),
        line({"tool_calls": [call(1, arguments=': "Oslo"}'), call(0, arguments='"Rome"}')]}),
        line({"tool_calls": [call(2, name="now")]}, "tool_calls"),
        DONE,
    )
    async with chat(chat_server) as engine:
        assert await pieces_of(engine, tools=[WEATHER]) == [
            ToolCall("id0", "weather", '{"city": "Rome"}'),
            ToolCall("id1", "weather", '{"city": "Oslo"}'),
            ToolCall("id2", "now", "{}"),
        ]


async def test_whole_tool_calls_as_some_servers_send_them(engine: LanguageModel, chat_server: Any) -> None:
    call = {"id": "abcdefgh1", "index": 0, "function": {"name": "weather", "arguments": {"city": "Rome"}}}
    chat_server.says(line({"content": "Wait. ", "tool_calls": [call]}, "tool_calls"), DONE)
    assert await pieces_of(engine, tools=[WEATHER]) == [
        TextDelta("Wait. "),
        ToolCall("abcdefgh1", "weather", '{"city": "Rome"}'),
    ]


async def test_a_tool_call_without_a_name(chat_server: Any) -> None:
    chat_server.says(line({"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}, "tool_calls"), DONE)
    async with chat(chat_server) as engine:
        _, error = await until_error(engine)
    assert "a tool call without a name: look at its tool parser" in str(error)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        pytest.param([line({"content": "Hel"}), ""], "connection", id="a broken connection"),
        pytest.param([line({"content": "Hel"})], "ended in the middle of a reply", id="an end in the middle"),
        pytest.param([line({"content": "Hel"}), "data: {oops\n\n"], "malformed", id="no JSON"),
        pytest.param([line({"content": "Hel"}), 'data: {"choices": 7}\n\n'], "malformed", id="another shape"),
        pytest.param([line({"content": "Hel"}), line({}, "error"), DONE], "gave the reply up", id="an error's reason"),
        pytest.param([line({"content": "Hel"}), None], "said nothing for 0.2 s", id="silence"),
    ],
)
async def test_a_reply_that_breaks_off(make: Make, chat_server: Any, lines: Any, message: str) -> None:
    chat_server.says(*lines)
    async with make(chat_server, stall_timeout_s=0.2 if None in lines else PATIENCE_S) as engine:
        pieces, error = await until_error(engine)
        assert pieces == [TextDelta("Hel")]
        assert isinstance(error, EngineUnreachable)
        assert message in str(error)
        assert "\n" not in str(error)
        assert None in lines or await pieces_of(engine)  # the next one is not hurt


@pytest.mark.parametrize(
    "failure", ['data: {"error": {"message": "out of memory"}}\n\n', 'error: {"message": "out of memory"}\n\n']
)
async def test_an_error_in_mid_stream_says_why(chat_server: Any, failure: str) -> None:
    chat_server.says(line({"content": "Hel"}), failure, DONE)
    async with chat(chat_server) as engine:
        pieces, error = await until_error(engine)
    assert pieces == [TextDelta("Hel")]
    assert "failed in the middle of a reply (out of memory)" in str(error)


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        (401, "who are you", LanguageModelError),
        (403, "not yours", LanguageModelError),
        (422, "tool ids must have 9 characters", LanguageModelError),
        (400, "This model's maximum context length is 4096 tokens, you asked for 5000", ContextTooLong),
        (413, "body", ContextTooLong),
        (429, "slow down", EngineBusy),
        (503, "loading", EngineBusy),
        (500, "boom", EngineUnreachable),
    ],
)
async def test_errors_in_place_of_a_reply(
    engine: LanguageModel, chat_server: Any, status: int, message: str, kind: type[LanguageModelError]
) -> None:
    for _ in range(10):
        chat_server.fails(status, {"message": message}, {"Retry-After": "9"} if status == 429 else None)
    _, error = await until_error(engine)
    assert type(error) is kind
    assert f"answered {status} ({message})" in str(error)
    assert "sk-very-secret" not in str(error)


async def test_a_busy_server_is_asked_again(make: Make, chat_server: Any) -> None:
    chat_server.fails(429, headers={"Retry-After": "0.01"})
    chat_server.fails(500)
    async with make(chat_server, retry_limit_s=5.0) as engine:
        assert await pieces_of(engine)
    assert len(chat_server.bodies) == 3


@pytest.mark.parametrize("how", ["cancel", "leave"])
async def test_cancelling_closes_the_connection(engine: LanguageModel, chat_server: Any, how: str) -> None:
    chat_server.says(line({"content": "Hel"}), None)
    async with asyncio.timeout(PATIENCE_S):
        async with engine.reply(HELLO) as reply, asyncio.TaskGroup() as tasks:
            assert await anext(reply) == TextDelta("Hel")
            if how == "cancel":
                waiting = tasks.create_task(rest_of(reply))
                await asyncio.sleep(0)
                reply.cancel()
                assert await waiting == []
        await chat_server.gone.wait()


async def rest_of(reply: Any) -> list[Any]:
    return [piece async for piece in reply]


async def test_leaving_while_another_task_reads(engine: LanguageModel, chat_server: Any) -> None:
    chat_server.says(line({"content": "Hel"}), None)
    async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as tasks:
        async with engine.reply(HELLO) as reply:
            assert await anext(reply) == TextDelta("Hel")
            waiting = tasks.create_task(rest_of(reply))
            await asyncio.sleep(0)
        assert await waiting == []


async def test_a_refused_key_is_known_at_the_start(make: Make, chat_server: Any) -> None:
    chat_server.models_status = 401
    with pytest.raises(LanguageModelError, match="answered 401"):
        await make(chat_server).__aenter__()


async def test_a_server_that_does_not_list_its_models_will_do(chat_server: Any) -> None:
    chat_server.models_status = 404
    async with chat(chat_server) as engine:
        assert await pieces_of(engine)


async def test_the_test_server_speaks_to_the_vendors_client(chat_server: Any) -> None:
    async with Mistral(api_key="k", server_url=chat_server.url.removesuffix("/v1")) as client:
        stream = await client.chat.stream_async(model="m", messages=[{"role": "user", "content": "Hi."}])
        async with stream:
            text = [event.data.choices[0].delta.content async for event in stream]
    assert text[0]


def test_a_url_is_one() -> None:
    with pytest.raises(ValidationError, match="base_url"):
        ChatConfig(base_url="localhost:8000", model="m")
    assert ChatConfig(base_url="http://x/v1/", model="m").url("models") == "http://x/v1/models"
