import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from llm.runtime.loop.outlet import Outlet, Outlets

STALL_S = 5.0


def outlet(capacity: int = 2) -> tuple[Outlet[int], list[str]]:
    taken: list[str] = []
    return Outlet[int](capacity, lambda: taken.append("taken")), taken


async def test_items_arrive_in_order_and_then_the_end() -> None:
    out, taken = outlet()
    outlets = Outlets(asyncio.get_running_loop())
    for item in (1, 2):
        outlets.send(out, item)
    outlets.finish(out)
    await asyncio.to_thread(outlets.flush)
    assert [await out.take(STALL_S), await out.take(STALL_S)] == [1, 2]
    with pytest.raises(StopAsyncIteration):
        await out.take(STALL_S)
    assert taken == ["taken"] * 2


async def test_a_step_wakes_the_event_loop_once() -> None:
    loop = asyncio.get_running_loop()
    calls: list[object] = []

    class Loop:
        def call_soon_threadsafe(self, callback: Callable[..., object], *arguments: Any) -> None:
            calls.append(callback)
            loop.call_soon(callback, *arguments)

    outlets = Outlets(Loop())
    five = [outlet()[0] for _ in range(5)]
    for out in five:
        outlets.send(out, 7)
    outlets.flush()
    outlets.flush()
    assert [await out.take(STALL_S) for out in five] == [7] * 5
    assert len(calls) == 1


async def test_room_is_what_the_consumer_has_left() -> None:
    out, _ = outlet(capacity=2)
    outlets = Outlets(asyncio.get_running_loop())
    outlets.send(out, 1)
    assert out.has_room
    outlets.send(out, 2)
    assert not out.has_room
    outlets.flush()
    await out.take(STALL_S)
    assert out.has_room


async def test_paused_keeps_what_comes() -> None:
    out, _ = outlet()
    out.deliver(1)
    out.pause()
    async with asyncio.TaskGroup() as tasks:
        take = tasks.create_task(out.take(stall_s=0.0))  # no limit while it is paused
        for _ in range(5):
            await asyncio.sleep(0)
        assert not take.done()
        out.unpause()
    assert take.result() == 1


async def test_closed_drops_what_waits_and_what_comes() -> None:
    out, _ = outlet()
    outlets = Outlets(asyncio.get_running_loop())
    out.deliver(1)
    outlets.send(out, 2)
    outlets.finish(out, ValueError("too late"))
    out.close()
    outlets.flush()
    await asyncio.sleep(0)
    with pytest.raises(StopAsyncIteration):
        await out.take(STALL_S)


async def test_an_error_comes_after_the_items_before_it() -> None:
    out, _ = outlet()
    out.deliver(1)
    out.finish(ValueError("broken"))
    out.finish(None)
    assert await out.take(STALL_S) == 1
    with pytest.raises(ValueError, match="broken"):
        await out.take(STALL_S)


async def test_a_stream_is_admitted_or_refused() -> None:
    welcome, refused = outlet()[0], outlet()[0]
    outlets = Outlets(asyncio.get_running_loop())
    outlets.answer(welcome)
    outlets.finish(welcome, ValueError("failed later"))
    outlets.answer(refused, ValueError("all slots are taken"))
    outlets.flush()
    await welcome.wait_until_admitted(STALL_S)
    with pytest.raises(ValueError, match="later"):
        await welcome.take(STALL_S)
    with pytest.raises(ValueError, match="taken"):
        await refused.wait_until_admitted(STALL_S)


async def test_who_leaves_waits_no_longer_to_be_admitted() -> None:
    out, _ = outlet()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(out.wait_until_admitted(STALL_S))
        await asyncio.sleep(0)
        out.close()


async def test_a_stalled_producer_is_noticed() -> None:
    out, _ = outlet()
    with pytest.raises(TimeoutError):
        await out.wait_until_admitted(stall_s=0.01)
    with pytest.raises(TimeoutError):
        await out.take(stall_s=0.01)


def test_a_closed_event_loop_is_no_error() -> None:
    loop = asyncio.new_event_loop()
    loop.close()
    outlets = Outlets(loop)
    outlets.send(outlet()[0], 1)
    outlets.flush()
