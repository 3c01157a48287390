"""What all engines do on the step loop's thread, shown with one that only counts."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from llm.runtime.cache import CacheFull
from llm.runtime.loop.errors import EngineErrors
from llm.runtime.loop.outlet import Outlet, Outlets
from llm.runtime.loop.stepper import RequestStepper
from llm.runtime.loop.stream import Request, RequestStream

STALL_S = 1.0


class EngineFailed(Exception):
    pass


class Busy(Exception):
    pass


class Unreachable(Exception):
    pass


ERRORS = EngineErrors(
    engine="the counter",
    slots="slots",
    retry="count again",
    cache_setting="pages",
    failed=EngineFailed,
    busy=Busy,
    unreachable=Unreachable,
)


@dataclass(eq=False, slots=True, kw_only=True)
class CountRequest(Request[int]):
    until: int = 3
    count: int = 0

    @property
    def due_s(self) -> float | None:
        return 0.0 if self.outlet.has_room else None


@dataclass
class CountSlots:
    count: int = 2
    is_full: bool = False
    taken: set[int] = field(default_factory=set[int])

    def reserve(self, slot: int) -> None:
        if self.is_full:
            raise CacheFull


class CountStepper(RequestStepper[CountRequest, CountSlots]):
    errors = ERRORS

    def _open(self, request: CountRequest) -> Exception | None:
        self._slots.taken.add(request.slot)
        return None

    def _serve(self, requests: Sequence[CountRequest]) -> None:
        for request in requests:
            if not self._reserve(request):
                continue
            request.count += 1
            self._outlets.send(request.outlet, request.count)
            if request.count == request.until:
                self._end(request)

    def _close(self, request: CountRequest) -> None:
        self._slots.taken.remove(request.slot)


class SameThread:
    """An event loop that is always at hand."""

    def call_soon_threadsafe(self, callback: Callable[..., object], *arguments: Any) -> None:
        callback(*arguments)


class Bench:
    def __init__(self) -> None:
        self.slots = CountSlots()
        self.stepper = CountStepper(self.slots, Outlets(SameThread()))

    def submit(self) -> CountRequest:
        request = CountRequest(outlet=Outlet(9, on_taken=lambda: None))
        self.stepper.submit(request)
        return request

    def run(self) -> None:
        while self.stepper.next_deadline() is not None:
            self.stepper.step()


async def items(request: CountRequest) -> list[int]:
    found: list[int] = []
    try:
        while True:
            found.append(await request.outlet.take(STALL_S))
    except StopAsyncIteration:
        return found


async def test_requests_are_admitted_served_and_ended() -> None:
    bench = Bench()
    requests = [bench.submit() for _ in range(2)]
    assert bench.stepper.next_deadline() == float("-inf")
    bench.run()
    assert [await items(request) for request in requests] == [[1, 2, 3]] * 2
    assert not bench.slots.taken


async def test_without_a_free_slot_a_request_is_refused_until_one_is_cancelled() -> None:
    bench = Bench()
    first, _, refused = (bench.submit() for _ in range(3))
    bench.stepper.step()
    with pytest.raises(Busy, match="all 2 slots of the counter are taken"):
        await refused.outlet.wait_until_admitted(STALL_S)
    first.is_cancelled = True
    next_one = bench.submit()
    bench.stepper.step()
    await next_one.outlet.wait_until_admitted(STALL_S)
    assert next_one.slot == first.slot


async def test_a_slot_given_up_amid_a_step_is_free_for_the_request_made_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Cancelled after the step has looked for slots to free and before it admits."""
    bench = Bench()
    first, second = bench.submit(), bench.submit()
    bench.stepper.step()
    first.is_cancelled = True
    newcomers: list[CountRequest] = []
    finish = Outlets.finish

    def finish_late(*arguments: Any) -> None:
        monkeypatch.undo()
        second.is_cancelled = True
        newcomers.extend(bench.submit() for _ in range(2))
        finish(*arguments)

    monkeypatch.setattr(Outlets, "finish", finish_late)
    bench.run()
    assert [await items(request) for request in newcomers] == [[1, 2, 3]] * 2


async def test_a_cancelled_request_that_waits_is_never_admitted() -> None:
    bench = Bench()
    bench.submit().is_cancelled = True
    bench.run()
    assert not bench.slots.taken


async def test_a_full_cache_ends_the_request_that_needed_more() -> None:
    bench = Bench()
    request = bench.submit()
    bench.stepper.step()
    bench.slots.is_full = True
    bench.run()
    with pytest.raises(Busy, match=r"cache of the counter is full.*raise pages"):
        await items(request)
    assert not bench.slots.taken


async def test_failing_ends_all_and_the_next_request_is_served() -> None:
    bench = Bench()
    requests = [bench.submit() for _ in range(2)]
    bench.stepper.step()
    bench.stepper.fail(RuntimeError("device lost"))
    for request in requests:
        with pytest.raises(EngineFailed, match=r"the counter failed \(device lost\): count again"):
            await items(request)
    after = bench.submit()
    bench.run()
    assert await items(after) == [1, 2, 3]


async def test_stopping_answers_those_who_are_served_and_those_who_wait() -> None:
    bench = Bench()
    served = bench.submit()
    bench.stepper.step()
    waiting = bench.submit()
    bench.stepper.stop()
    with pytest.raises(Unreachable, match="stopped"):
        await items(served)
    with pytest.raises(Unreachable, match="stopped"):
        await waiting.outlet.wait_until_admitted(STALL_S)
    assert bench.stepper.next_deadline() is None


class Caller:
    """The caller's side of one request, and how often the step loop was woken."""

    def __init__(self, stall_s: float = STALL_S) -> None:
        self.request = CountRequest(outlet=Outlet(9, on_taken=lambda: None))
        self.wakes = 0
        self.stream = RequestStream[CountRequest, int](self._begin, self._wake, stall_s=stall_s, errors=ERRORS)

    async def _begin(self) -> CountRequest:
        return self.request

    def _wake(self) -> None:
        self.wakes += 1


async def test_leaving_cancels_and_wakes_the_loop() -> None:
    caller = Caller()
    caller.request.outlet.admit()
    async with caller.stream as stream:
        assert caller.wakes == 1
        caller.request.outlet.deliver(7)
        assert await anext(stream) == 7
    assert caller.request.is_cancelled
    assert caller.wakes == 2
    with pytest.raises(StopAsyncIteration):
        await anext(caller.stream)


async def test_cancelled_before_it_is_entered_it_begins_cancelled() -> None:
    caller = Caller()
    caller.stream.cancel()
    async with caller.stream as stream:
        assert caller.request.is_cancelled
        with pytest.raises(StopAsyncIteration):
            await anext(stream)


async def test_an_engine_that_does_not_answer_or_sends_nothing_is_unreachable() -> None:
    caller = Caller(stall_s=0.01)
    with pytest.raises(Unreachable, match=r"did nothing for 0\.01 s"):
        await caller.stream.__aenter__()
    assert caller.request.is_cancelled
    caller = Caller(stall_s=0.01)
    caller.request.outlet.admit()
    async with caller.stream as stream:
        with pytest.raises(Unreachable, match="did nothing"):
            await anext(stream)
    assert caller.request.is_cancelled


async def test_a_request_that_makes_progress_or_owes_nothing_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    caller = Caller(stall_s=0.01)
    caller.request.outlet.admit()
    timeouts: list[float] = []

    def is_overdue(request: CountRequest, stall_s: float) -> bool:
        timeouts.append(stall_s)
        if len(timeouts) == 3:
            request.outlet.deliver(7)
        return False

    monkeypatch.setattr(CountRequest, "is_overdue", is_overdue)
    async with caller.stream as stream, asyncio.timeout(30):
        assert await anext(stream) == 7
    assert timeouts == [0.01] * 3
