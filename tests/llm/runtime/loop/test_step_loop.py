import asyncio
import threading
import time

import pytest

from llm.runtime.loop.step_loop import StepLoop

SOON_S = 5.0


class Counter:
    """An engine with so many steps to do, by a given deadline; the last one reports to the test."""

    def __init__(self, name: str, deadline: float, steps: int, order: list[str]) -> None:
        self.name, self.deadline, self.steps, self.order = name, deadline, steps, order
        self.errors: list[Exception] = []
        self.failing = False
        self.stops = 0
        self.threads: set[str] = set()

    def next_deadline(self) -> float | None:
        return self.deadline if self.steps else None

    def step(self) -> None:
        self.threads.add(threading.current_thread().name)
        self.steps -= 1
        self.order.append(self.name)
        if self.failing:
            raise ValueError("a broken step")

    def fail(self, error: Exception) -> None:
        self.errors.append(error)

    def stop(self) -> None:
        self.stops += 1


async def test_the_earliest_deadline_is_stepped_first() -> None:
    order: list[str] = []
    late, early = Counter("late", 2.0, 0, order), Counter("early", 1.0, 0, order)
    async with StepLoop("test") as loop:
        await loop.attach(late)
        await loop.attach(early)

        def give_both_work() -> None:
            late.steps, early.steps = 2, 3

        await loop.run(give_both_work)
        while late.steps or early.steps:
            await loop.run(lambda: None)
    assert order == ["early"] * 3 + ["late"] * 2
    assert early.threads == {"step-loop-test"}


async def test_work_that_comes_to_an_idle_loop_starts_at_once() -> None:
    order: list[str] = []
    engine = Counter("engine", 0.0, 0, order)
    done = threading.Event()
    async with StepLoop("test") as loop:
        await loop.attach(engine)
        await loop.run(lambda: None)
        assert order == []
        engine.order = Reporting(done)
        engine.steps = 1
        loop.wake()
        assert await asyncio.to_thread(done.wait, SOON_S)


class Reporting(list[str]):
    def __init__(self, done: threading.Event) -> None:
        super().__init__()
        self.done = done

    def append(self, item: str) -> None:
        super().append(item)
        self.done.set()


async def test_a_failing_step_fails_its_engine_and_no_other() -> None:
    order: list[str] = []
    broken, sound = Counter("broken", 0.0, 2, order), Counter("sound", 1.0, 2, order)
    broken.failing = True
    async with StepLoop("test") as loop:
        await loop.attach(broken)
        await loop.attach(sound)
        while sound.steps:
            await loop.run(lambda: None)
    assert [str(error) for error in broken.errors] == ["a broken step"] * 2
    assert sound.errors == []


async def test_an_engine_that_cannot_even_fail_is_stepped_no_more() -> None:
    order: list[str] = []
    broken, sound = Counter("broken", 0.0, 10, order), Counter("sound", 1.0, 2, order)
    broken.failing = True
    broken.errors = Unusable()
    async with StepLoop("test") as loop:
        await loop.attach(broken)
        await loop.attach(sound)
        while sound.steps:
            await loop.run(lambda: None)
        await loop.detach(broken)
    assert order.count("broken") == 1


class Unusable(list[Exception]):
    def append(self, item: Exception) -> None:
        raise RuntimeError("cannot fail either")


async def test_detached_is_stopped_and_stepped_no_more() -> None:
    engine = Counter("engine", 0.0, 10**9, [])
    async with StepLoop("test") as loop:
        await loop.attach(engine)
        await loop.detach(engine)
        steps = engine.steps
        await loop.run(lambda: None)
        assert engine.steps == steps
        assert engine.stops == 1


async def test_run_returns_and_raises_what_the_work_does() -> None:
    async with StepLoop("test") as loop:
        assert await loop.run(lambda: threading.current_thread().name) == "step-loop-test"
        with pytest.raises(ZeroDivisionError):
            await loop.run(lambda: 1 // 0)
        assert await loop.run(lambda: 1) == 1
    with pytest.raises(RuntimeError, match="not running"):
        await loop.run(lambda: 1)


async def test_leaving_stops_a_busy_loop_and_its_thread() -> None:
    engine = Counter("engine", 0.0, 10**9, [])
    before = threading.active_count()
    async with StepLoop("test") as loop:
        await loop.attach(engine)
    assert threading.active_count() <= before + 1  # asyncio keeps a worker thread for to_thread
    assert not any(thread.name == "step-loop-test" for thread in threading.enumerate())


async def test_work_cancelled_while_it_waits_is_not_begun() -> None:
    begun: list[str] = []
    release = threading.Event()
    async with StepLoop("test") as loop, asyncio.TaskGroup() as tasks:
        blocking = tasks.create_task(loop.run(lambda: release.wait(SOON_S)))
        waiting = tasks.create_task(loop.run(lambda: begun.append("waiting")))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.sleep(0)
        release.set()
        assert await blocking
        await loop.run(lambda: None)
    assert begun == []


async def test_an_idle_loop_uses_no_processor() -> None:
    async with StepLoop("test") as loop:
        await loop.attach(Counter("engine", 0.0, 0, []))
        await loop.run(lambda: None)
        before = await loop.run(time.thread_time)
        await asyncio.sleep(0.05)
        assert await loop.run(time.thread_time) - before < 0.005
