"""JSON bodies: of the schema, within a size, in time."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from aiohttp import web
from pydantic import BaseModel, field_validator

from webrtc.http.bodies import read_json
from webrtc.http.errors import RequestRefused

Serve = Callable[..., AbstractAsyncContextManager[Any]]

MAX_BYTES = 4096


class Order(BaseModel):
    """A body of the tests."""

    item: str
    count: int = 1

    @field_validator("count")
    @classmethod
    def _some(cls, count: int) -> int:
        if count < 1:
            raise ValueError("order at least one")
        return count


def takes_orders(timeout_s: float = 5.0) -> Callable[[web.Request], Any]:
    async def handler(request: web.Request) -> web.StreamResponse:
        order = await read_json(request, Order, max_bytes=MAX_BYTES, timeout_s=timeout_s)
        return web.json_response(order.model_dump())

    return handler


def describe(refused: RequestRefused) -> object:
    return {"message": str(refused), "code": refused.code, "param": refused.param}


async def test_a_body_of_the_schema(serve: Serve) -> None:
    async with serve(takes_orders()) as client, client.post("/", data=b'{"item": "tea"}') as response:
        assert await response.json() == {"item": "tea", "count": 1}


async def test_what_is_wrong_is_said_with_what_was_found(serve: Serve) -> None:
    cases = {
        b"": (None, "Invalid JSON"),
        b"{": (None, "Invalid JSON"),
        b"\xff\xfe": (None, "Invalid JSON"),
        b"[]": (None, "object"),
        b"{}": ("item", "item: Field required"),
        b'{"item": 7}': ("item", "item: Input should be a valid string, found 7"),
        b'{"item": "tea", "count": "many"}': ("count", 'found "many"'),
        b'{"item": "tea", "count": 0}': ("count", "count: order at least one"),
    }
    async with serve(takes_orders(), describe) as client:
        for raw, (param, says) in cases.items():
            async with client.post("/", data=raw) as response:
                error = (await response.json())["error"]
            assert (response.status, error["code"], error["param"]) == (400, "invalid_request", param), raw
            assert says in error["message"], raw
            assert "\n" not in error["message"]


async def test_a_wrong_value_is_shown_in_part(serve: Serve) -> None:
    body = {"item": "tea", "count": "x" * 1000}
    async with serve(takes_orders()) as client, client.post("/", json=body) as response:
        assert len((await response.json())["error"]) < 200


async def test_the_size_is_bounded_to_the_byte(serve: Serve) -> None:
    async def chunks(size: int) -> AsyncIterator[bytes]:
        for at in range(0, size, 1000):
            yield b" " * min(1000, size - at)

    body = b'{"item": "tea"}'
    async with serve(takes_orders(), describe) as client:
        async with client.post("/", data=body + b" " * (MAX_BYTES - len(body))) as response:
            assert response.status == 200
        for data in (b" " * (MAX_BYTES + 1), b" " * 100_000, chunks(MAX_BYTES + 1)):
            async with client.post("/", data=data) as response:
                assert (response.status, (await response.json())["error"]["code"]) == (413, "too_large")


async def test_a_body_that_does_not_come(serve: Serve) -> None:
    async def never() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    async with serve(takes_orders(timeout_s=0.05), describe) as client, client.post("/", data=never()) as response:
        assert response.status == 408
        error = (await response.json())["error"]
        assert error == {"message": "the request did not arrive within 0.05 s", "code": "timeout", "param": None}
