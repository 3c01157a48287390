"""The step loop: one thread that alone touches a device and steps, each time, the engine with the earliest deadline.

It knows nothing of what a step computes. Several engines (speech, recognition, language) share one loop and so one
device; work starts at once when the device is idle.
"""

import asyncio
import contextlib
import logging
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import Protocol, Self, TypeVar

_log = logging.getLogger(__name__)

T = TypeVar("T")

STOP_TIMEOUT_S = 30.0  # a step takes milliseconds, loading weights may take longer


class Steppable(Protocol):
    """An engine as the step loop sees it; every method is called on the loop's thread."""

    def next_deadline(self) -> float | None:
        """When the most urgent step should be done, in time.monotonic() seconds; None while there is no work.

        A deadline that is not None promises that `step` has something to do.
        """
        ...

    def step(self) -> None:
        """One batched pass, or the housekeeping that is due before it."""
        ...

    def fail(self, error: Exception) -> None:
        """The step raised: end every stream with an error. New streams may come."""
        ...

    def stop(self) -> None:
        """End every stream, and refuse those that wait to be admitted: it is stepped no more."""
        ...


class StepLoop:
    """Runs the steps of the engines attached to it. Use as `async with`: leaving stops and joins the thread."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._engines: list[Steppable] = []
        self._jobs: deque[tuple[Future[None], Callable[[], None]]] = deque()
        self._something_new = threading.Event()
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name=f"step-loop-{name}", daemon=True)

    async def __aenter__(self) -> Self:
        self._thread.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop after the step in progress.

        Raises:
            TimeoutError: that step did not end.
        """
        self._is_stopping = True
        self.wake()
        await asyncio.to_thread(self._thread.join, STOP_TIMEOUT_S)
        if self._thread.is_alive():
            raise TimeoutError(f"the step loop {self._name} is stuck in a step for more than {STOP_TIMEOUT_S:.0f} s")

    def wake(self) -> None:
        """Something changed: look for work. Callable from any thread, any number of times."""
        self._something_new.set()

    async def run(self, work: Callable[[], T]) -> T:
        """The result of `work`, done on the loop's thread between two steps.

        Cancelled while waiting, the work is not begun; once begun, it runs to its end and its result is dropped.

        Raises:
            RuntimeError: the loop is not running.
            Exception: what the work raised.
        """
        results: list[T] = []
        future: Future[None] = Future()
        self._jobs.append((future, lambda: results.append(work())))
        self.wake()
        if self._is_stopping or not self._thread.is_alive():
            self._refuse_jobs()
        await asyncio.wrap_future(future)
        return results[0]

    async def attach(self, engine: Steppable) -> None:
        """Step this engine from now on."""
        await self.run(lambda: self._engines.append(engine))

    async def detach(self, engine: Steppable) -> None:
        """Stop it; no step of it is in progress when this returns."""

        def stop() -> None:
            if engine in self._engines:
                self._engines.remove(engine)
            engine.stop()

        await self.run(stop)

    def _run(self) -> None:
        while not self._is_stopping:
            self._something_new.clear()
            while self._jobs:
                self._do(*self._jobs.popleft())
            if not self._step_most_urgent():
                self._something_new.wait()
        self._refuse_jobs()

    @staticmethod
    def _do(future: Future[None], work: Callable[[], None]) -> None:
        if not future.set_running_or_notify_cancel():
            return
        try:
            work()
        except BaseException as error:  # it belongs to the task that asked for the work
            future.set_exception(error)
        else:
            future.set_result(None)

    def _step_most_urgent(self) -> bool:
        """Whether there was a step to do."""
        deadlines = [(deadline, engine) for engine in self._engines if (deadline := engine.next_deadline()) is not None]
        if not deadlines:
            return False
        _, engine = min(deadlines, key=lambda pair: pair[0])
        try:
            engine.step()
        except Exception as error:
            _log.exception("a step of %s failed on %s", type(engine).__name__, self._name)
            self._fail(engine, error)
        return True

    def _fail(self, engine: Steppable, error: Exception) -> None:
        try:
            engine.fail(error)
        except Exception:
            _log.exception("%s cannot end its streams and is stepped no more", type(engine).__name__)
            self._engines.remove(engine)

    def _refuse_jobs(self) -> None:
        """They will not be done; called by whichever thread finds out."""

        def refuse() -> None:
            raise RuntimeError(f"the step loop {self._name} is not running")

        with contextlib.suppress(IndexError):
            while True:
                self._do(self._jobs.popleft()[0], refuse)
