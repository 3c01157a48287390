"""What a server of someone else's may do to us between a request and its answer."""

import asyncio
import logging
import socket
from typing import Any

import pytest
from aiohttp import web
from pydantic import SecretStr

from llm.endpoint.cancellable import Abandoned, Waiting
from llm.endpoint.client import Endpoint
from llm.endpoint.config import EndpointConfig
from llm.endpoint.errors import EndpointBusy, EndpointError, EndpointRefused, EndpointUnreachable, refusal, said_by
from llm.endpoint.keep_warm import KeepWarm
from llm.endpoint.retry import retry
from tests.fakes import PATIENCE_S

SECRET = "sk-very-secret"


def config(server: Any, **settings: Any) -> EndpointConfig:
    return EndpointConfig.model_validate({"base_url": server.url, "api_key_env": "THE_KEY", **settings})


async def post(server: Any, **settings: Any) -> str:
    async with (
        Endpoint(config(server, **settings), SecretStr(SECRET)) as endpoint,
        endpoint.post("chat/completions", {"messages": [{"role": "user", "content": "Hi."}]}) as answer,
    ):
        return b"".join([block async for block in answer.blocks()]).decode()


async def test_the_key_is_sent_and_never_shown(chat_server: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    chat_server.fails(401, {"error": {"message": "no such key"}})
    with pytest.raises(EndpointRefused) as error:
        await post(chat_server)
    assert chat_server.keys == [f"Bearer {SECRET}"]
    assert str(error.value).endswith("/chat/completions answered 401 (no such key): check the key in THE_KEY")
    assert SECRET not in str(error.value) + caplog.text


async def test_a_busy_server_is_asked_again_when_it_says(chat_server: Any) -> None:
    chat_server.fails(429, headers={"Retry-After": "0.05"})
    before_s = asyncio.get_running_loop().time()
    assert "[DONE]" in await post(chat_server)
    assert asyncio.get_running_loop().time() - before_s >= 0.05
    assert len(chat_server.bodies) == 2


async def test_who_must_wait_too_long_is_told(chat_server: Any) -> None:
    chat_server.fails(429, {"message": "slow down"}, {"Retry-After": "30"})
    with pytest.raises(EndpointBusy, match=r"answered 429 \(slow down\): try again later in 30 s, or elsewhere"):
        await post(chat_server)
    assert len(chat_server.bodies) == 1


@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_a_failing_server_is_asked_again(chat_server: Any, status: int) -> None:
    chat_server.fails(status)
    chat_server.fails(status)
    assert "[DONE]" in await post(chat_server)
    assert len(chat_server.bodies) == 3


async def test_a_server_that_goes_on_failing_is_unreachable(chat_server: Any) -> None:
    for _ in range(20):
        chat_server.fails(500, {"detail": "boom"})
    with pytest.raises(EndpointUnreachable, match=r"answered 500 \(boom\): look at the server's log"):
        await post(chat_server, retry_limit_s=0.1)
    assert 1 < len(chat_server.bodies) < 20


async def test_a_refusal_is_final(chat_server: Any) -> None:
    chat_server.fails(404, {"error": {"message": "no model x", "code": 404}})
    with pytest.raises(EndpointRefused, match=r"answered 404 \(no model x\): check base_url, model"):
        await post(chat_server)
    assert len(chat_server.bodies) == 1


async def test_no_answer_in_time(chat_server: Any) -> None:
    async def never(request: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    chat_server.script.append(never)
    with pytest.raises(EndpointUnreachable, match=r"did not answer in 0.05 s"):
        await post(chat_server, answer_timeout_s=0.05)
    async with asyncio.timeout(PATIENCE_S):
        await chat_server.gone.wait()


async def test_a_connection_that_breaks_before_the_answer_is_replaced(chat_server: Any) -> None:
    async def broken(request: web.Request) -> web.StreamResponse:
        assert request.transport
        request.transport.abort()
        return web.Response()

    chat_server.script.append(broken)
    assert "[DONE]" in await post(chat_server)


async def test_no_server_at_all() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
    with pytest.raises(EndpointUnreachable, match=r"no connection .*: start the server, or correct base_url"):
        await Endpoint(EndpointConfig(base_url=url, retry_limit_s=0.1)).__aenter__()


async def test_an_answer_that_is_not_json(chat_server: Any) -> None:
    async with Endpoint(config(chat_server)) as endpoint:
        with pytest.raises(EndpointRefused, match="answered 404"):
            await endpoint.get("nothing/here")
    chat_server.models_page = "<html>"
    with pytest.raises(EndpointUnreachable, match="did not answer in JSON: check base_url"):
        await Endpoint(config(chat_server)).__aenter__()


async def test_a_connection_is_open_beforehand_and_used_again(chat_server: Any) -> None:
    peers = set()

    async def note(request: web.Request) -> web.StreamResponse:
        assert request.transport
        peers.add(request.transport.get_extra_info("peername"))
        return await chat_server.think(request)

    chat_server.script += [note] * 5
    async with Endpoint(config(chat_server)) as endpoint:
        for _ in range(5):
            async with endpoint.post("chat/completions", {"messages": [{"role": "user", "content": "Hi."}]}) as answer:
                assert b"".join([block async for block in answer.blocks()])
    assert len(peers) == 1


async def test_a_connection_closed_to_cancel_is_replaced_beforehand(chat_server: Any) -> None:
    chat_server.says("data: {}\n\n", None)
    async with Endpoint(config(chat_server)) as endpoint:
        async with endpoint.post("chat/completions", {}) as answer:
            assert await anext(answer.blocks())
        async with asyncio.timeout(PATIENCE_S):
            await chat_server.gone.wait()
            await chat_server.models_asked.acquire()
            await chat_server.models_asked.acquire()


async def test_warmth_is_kept_up_while_the_server_fails() -> None:
    asked = asyncio.Semaphore(0)

    async def ask() -> None:
        asked.release()
        raise EndpointUnreachable("gone")

    async with KeepWarm(ask, every_s=0.001), asyncio.timeout(PATIENCE_S):
        for _ in range(3):
            await asked.acquire()


async def test_retrying_ends_with_the_last_error() -> None:
    tried = 0

    async def attempt() -> None:
        nonlocal tried
        tried += 1
        raise EndpointUnreachable(f"attempt {tried}", retry_after_s=0.0)

    with pytest.raises(EndpointError) as error:
        await retry(attempt, 0.15)
    assert str(error.value) == f"attempt {tried}"
    assert tried > 1


async def test_a_wait_can_be_ended_by_a_plain_function() -> None:
    waiting = Waiting()
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(waited(waiting))
        await asyncio.sleep(0)
        waiting.cancel()
        waiting.cancel()
    assert task.result() == "abandoned"
    with pytest.raises(TimeoutError):
        await Waiting().wait(asyncio.Event().wait(), 0.001)


async def waited(waiting: Waiting) -> str:
    try:
        await waiting.wait(asyncio.Event().wait(), 60.0)
    except Abandoned:
        return "abandoned"
    return "done"


def test_only_what_is_meant_for_people_is_repeated() -> None:
    for body, said in (
        ('{"error": {"message": "a\\n b", "type": "x"}}', "a b"),
        ('{"error": "a"}', "a"),
        ('{"object": "error", "message": "a"}', "a"),
        ('{"message": {"detail": "a"}}', "a"),
        ('{"detail": [{"input": "what the caller said"}]}', ""),
        ("<html>", ""),
        ("", ""),
        ('{"error": "' + "x" * 1000 + '"}', "x" * 200),
    ):
        assert said_by(body) == said, body


def test_a_date_in_retry_after_is_left_alone() -> None:
    error = refusal("http://x", 429, {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, "", None)
    assert isinstance(error, EndpointBusy)
    assert error.retry_after_s == 0.0
