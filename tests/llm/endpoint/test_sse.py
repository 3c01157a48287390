"""Server-sent events, however they are cut and whatever their dialect."""

from collections.abc import AsyncIterator, Iterable

import pytest

from llm.endpoint.errors import EndpointUnreachable
from llm.endpoint.sse import LARGEST_LINE, Event, events


async def found_in(blocks: Iterable[bytes]) -> list[Event]:
    async def body() -> AsyncIterator[bytes]:
        for block in blocks:
            yield block

    return [event async for event in events(body())]


async def test_any_block_size_gives_the_same_events() -> None:
    for body, expected in (
        (b"data: one\n\ndata: two\n\n", [Event("message", "one"), Event("message", "two")]),
        (b"data:one\r\n\r\n", [Event("message", "one")]),
        (b"event: speech.audio.delta\ndata: x\n\n", [Event("speech.audio.delta", "x")]),
        (b": ping\n\n: ping\n\ndata: one\n\n", [Event("message", "one")]),
        (b"data: one\ndata: more\n\n", [Event("message", "one\nmore")]),
        (b"data: one\n\ndata: [DONE]", [Event("message", "one"), Event("message", "[DONE]")]),
        (b'error: {"code": 500}\n\n', [Event("error", '{"code": 500}')]),
        (b"id: 1\nretry: 5\n\n", []),
        ("data: é €\n\n".encode(), [Event("message", "é €")]),
        (b"event: lost\n\ndata: one\n\n", [Event("message", "one")]),
        (b"", []),
    ):
        for size in (1, 3, 1000):
            assert await found_in(body[at : at + size] for at in range(0, len(body), size)) == expected, body


async def test_what_is_not_utf8_is_an_error() -> None:
    with pytest.raises(EndpointUnreachable, match="not UTF-8"):
        await found_in([b"data: \xff\n\n"])


async def test_a_line_without_end_is_an_error() -> None:
    with pytest.raises(EndpointUnreachable, match="over 4194304 bytes"):
        await found_in(b"x" * 65_536 for _ in range(LARGEST_LINE // 65_536 + 1))
