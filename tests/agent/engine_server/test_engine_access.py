"""Who is let in, how much at a time, what is measured, and how the server ends."""

import asyncio
from typing import Any

import pytest
from aiohttp import ClientSession, WSCloseCode, WSMsgType

from tests.fakes import PATIENCE_S

CHAT = "/v1/chat/completions"
ASKED = {"model": "llm-1", "messages": [{"role": "user", "content": "Hello."}]}
ANN = {"Authorization": "Bearer ann's"}
BOB = {"Authorization": "bearer bob's"}
KEYS = ("ann's", "bob's")


async def status(served: Any, path: str = "/v1/models", **options: Any) -> int:
    async with served.http.get(path, **options) as response:
        return response.status


async def test_without_a_key_nothing_below_v1(serve: Any) -> None:
    for headers in [{}, {"Authorization": "Bearer eve's"}, {"Authorization": "Basic ann's"}]:
        for path in ["/v1/models", "/v1/audio/voices", "/v1/realtime", "/v1/nothing"]:
            async with serve(api_keys=KEYS) as served, served.http.get(path, headers=headers) as response:
                assert response.status == 401
                assert response.headers["WWW-Authenticate"] == "Bearer"
                assert (await response.json())["error"]["code"] == "invalid_api_key"


async def test_every_key_opens(serve: Any) -> None:
    async with serve(api_keys=KEYS) as served:
        assert await status(served, headers=ANN) == 200
        assert await status(served, headers=BOB) == 200


async def test_health_and_metrics_need_no_key(serve: Any) -> None:
    async with serve(api_keys=KEYS) as served:
        assert await status(served, "/healthz") == 200
        assert await status(served, "/metrics") == 200


async def test_without_keys_it_is_open_but_to_foreign_pages(served: Any) -> None:
    assert await status(served) == 200
    assert await status(served, headers={"Origin": served.url}) == 200
    for path in ("/v1/models", "/v1/realtime", CHAT):
        assert await status(served, path, headers={"Origin": "https://example.org"}) == 403


async def test_a_page_with_a_key_may_come_from_anywhere(serve: Any) -> None:
    async with serve(api_keys=KEYS) as served:
        assert await status(served, headers={**ANN, "Origin": "https://example.org"}) == 200


async def test_one_key_cannot_take_what_another_may_have(serve: Any) -> None:
    async with serve(api_keys=KEYS, requests_per_key=1) as served:
        async with served.http.ws_connect("/v1/realtime", headers=ANN) as socket:
            await socket.receive_json()
            async with served.http.post(CHAT, json=ASKED, headers=ANN) as response:
                assert response.status == 429
                assert response.headers["Retry-After"] == "1"
                assert (await response.json())["error"]["code"] == "rate_limit_exceeded"
            assert await status(served, headers=ANN) == 200  # what costs nothing is not counted
            async with served.http.post(CHAT, json=ASKED, headers=BOB) as response:
                assert response.status == 200
        await served.access.drain(5)  # returns when nothing is in progress
        assert served.access.active == 0


async def test_a_body_beyond_the_limit(serve: Any) -> None:
    async with serve(max_body_bytes=1000) as served:
        body = {**ASKED, "messages": [{"role": "user", "content": "x" * 1000}]}
        async with served.http.post(CHAT, json=body) as response:
            assert response.status == 413
            assert (await response.json())["error"]["code"] == "too_large"


async def test_a_body_that_does_not_come(serve: Any) -> None:
    async def never() -> Any:
        yield b'{"model":'
        await asyncio.sleep(10)

    async with serve(body_timeout_s=0.1) as served, served.http.post(CHAT, data=never()) as response:
        assert response.status == 408
        assert (await response.json())["error"]["code"] == "timeout"


async def test_every_error_is_json(served: Any) -> None:
    for method, path, wanted in [("GET", "/v1/nothing", 404), ("GET", CHAT, 405), ("POST", CHAT, 400)]:
        async with served.http.request(method, path, data=b"not json" if method == "POST" else None) as response:
            assert response.status == wanted
            error = (await response.json())["error"]
            assert error["message"]
            assert "\n" not in error["message"]


async def test_a_bug_of_ours_tells_nothing_of_itself(served: Any, caplog: pytest.LogCaptureFixture) -> None:
    served.language_model.refusal = ZeroDivisionError("secret")
    async with served.http.post(CHAT, json=ASKED) as response:
        assert response.status == 500
        assert "secret" not in await response.text()
    assert "ZeroDivisionError" in caplog.text


async def test_models(served: Any) -> None:
    async with served.http.get("/v1/models") as response:
        listed = await response.json()
    assert [model["id"] for model in listed["data"]] == ["asr-1", "llm-1", "tts-1"]


async def test_metrics_count_requests_and_seconds(served: Any) -> None:
    async with served.http.post("/v1/audio/speech", json={"input": "Hello.", "response_format": "pcm"}) as response:
        await response.read()
    async with served.http.post(CHAT, json={**ASKED, "model": "gpt-9"}) as response:
        assert response.status == 404
    assert await status(served, "/anything") == 404
    async with served.http.get("/metrics") as response:
        lines = (await response.text()).splitlines()
    assert 'parley_engine_requests_total{route="/v1/audio/speech",status="200"} 1.0' in lines
    assert 'parley_engine_requests_total{route="/v1/chat/completions",status="404"} 1.0' in lines
    assert 'parley_engine_requests_total{route="other",status="404"} 1.0' in lines
    assert 'parley_engine_active{route="/v1/audio/speech"} 0.0' in lines
    assert 'parley_engine_first_output_seconds_count{route="/v1/audio/speech"} 1.0' in lines
    (spoken,) = [line for line in lines if line.startswith("parley_engine_spoken_seconds_total")]
    assert float(spoken.split()[1]) == pytest.approx(0.24)


async def test_draining_finishes_what_is_in_progress_and_takes_nothing_more(served: Any) -> None:
    served.synthesizer.gate.clear()
    async with asyncio.TaskGroup() as tasks:
        speech = tasks.create_task(_speech(served))
        while not served.synthesizer.utterances:  # noqa: ASYNC110  # the server's own doing
            await asyncio.sleep(0.01)
        drained = tasks.create_task(served.access.drain(10))
        await asyncio.sleep(0)
        async with served.http.get("/healthz") as response:
            assert response.status == 503
            assert await response.json() == {"status": "draining", "requests": 1}
        async with served.http.post(CHAT, json=ASKED) as response:
            assert response.status == 503
            assert "Retry-After" in response.headers
        assert not drained.done()
        served.synthesizer.gate.set()
        assert len(await speech) == 3 * 3840
    assert served.access.active == 0


async def test_a_drain_ends_at_its_limit_or_when_told(served: Any) -> None:
    async with served.http.ws_connect("/v1/realtime") as socket:
        await socket.receive_json()
        await served.access.drain(0.05)
        async with asyncio.TaskGroup() as tasks:
            drained = tasks.create_task(served.access.drain(30))
            await asyncio.sleep(0)
            served.access.stop_waiting()
        assert drained.done()
        assert served.access.active == 1


async def test_sockets_are_told_that_the_server_stops(serve: Any) -> None:
    async with ClientSession() as http:
        async with serve() as served:
            socket = await http.ws_connect(f"{served.url}/v1/realtime")
            await socket.receive_json()
        message = await socket.receive(timeout=PATIENCE_S)
    assert (message.type, message.data) == (WSMsgType.CLOSE, WSCloseCode.GOING_AWAY)


async def _speech(served: Any) -> bytes:
    async with served.http.post("/v1/audio/speech", json={"input": "Hello.", "response_format": "pcm"}) as response:
        return await response.read()
