"""The calls of this process: who is let in, who is on, and how all of them end."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Literal

from agent.log import call_context
from agent.serving.loop_lag import LoopLag
from agent.serving.metrics import Metrics
from agent.settings.config import AdmissionConfig
from webrtc.browser.signalling import Refusal
from webrtc.interface import Call, CallError

_log = logging.getLogger(__name__)

Status = Literal["ok", "full", "overloaded", "draining"]

_REASONS: Mapping[Status, str] = {
    "full": "all lines are busy; call again in a moment",
    "overloaded": "the server is too busy for another call; call again in a moment",
    "draining": "the server is about to stop and takes no new calls",
}


class CallRegistry:
    """Admits calls and runs each as a task of the group it is given; one that fails ends only itself."""

    def __init__(
        self,
        group: asyncio.TaskGroup,
        config: AdmissionConfig,
        *,
        run: Callable[[Call], Awaitable[None]],
        lag: LoopLag,
        metrics: Metrics,
    ) -> None:
        """Args:
        group: owns the task of every call.
        config: when to refuse.
        run: holds one conversation, from an answered call to its end.
        lag: how late the event loop runs.
        metrics: counts what happens.
        """
        self._group = group
        self._config = config
        self._run = run
        self._lag = lag
        self._metrics = metrics
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._is_draining = False
        self._is_empty = asyncio.Event()
        self._is_empty.set()

    @property
    def active(self) -> int:
        """Calls in progress."""
        return len(self._tasks)

    @property
    def status(self) -> Status:
        """Whether a call would be admitted now, and if not, why."""
        if self._is_draining:
            return "draining"
        if self.active >= self._config.max_calls:
            return "full"
        return "overloaded" if self._lag.is_overloaded else "ok"

    def admit(self) -> Refusal | None:
        """None if a further call may come in, else the reason to give its caller."""
        status = self.status
        if status == "ok":
            return None
        self._metrics.calls_refused.labels(status).inc()
        return Refusal(_REASONS[status])

    def accept(self, call: Call) -> None:
        """Own this answered call from now on."""
        self._metrics.calls_total.inc()
        task = self._group.create_task(self._hold(call), name=f"call {call.id}")
        self._tasks[call.id] = task
        task.add_done_callback(lambda _: self._forget(call.id))
        self._is_empty.clear()
        self._metrics.calls_active.set(self.active)

    async def drain(self, limit_s: float) -> None:
        """Take no new calls; let those in progress finish within the limit, then end the rest.

        Those are gone when the task group is left.
        """
        self._is_draining = True
        if self._tasks:
            _log.info("draining: %d calls may finish within %.0f s", self.active, limit_s)
        try:
            async with asyncio.timeout(limit_s):
                await self._is_empty.wait()
        except TimeoutError:
            _log.warning("%d calls did not finish in time and are ended", self.active)
            self.end_all()

    def end_all(self) -> None:
        """End every call now."""
        for task in self._tasks.values():
            task.cancel()

    async def _hold(self, call: Call) -> None:
        started = time.monotonic()
        with call_context(call.id):
            _log.info("begins; %d on", self.active)
            try:
                async with call:
                    await self._run(call)
            except CallError as error:
                _log.info("%s", error)
            except Exception:
                # The caller of this one loses the call; the others must not notice.
                self._metrics.calls_failed.inc()
                _log.exception("the call is lost")
            finally:
                duration_s = time.monotonic() - started
                _log.info("ended after %.0f s", duration_s)
                self._metrics.call_ended(duration_s, call.stats)

    def _forget(self, call_id: str) -> None:
        del self._tasks[call_id]
        self._metrics.calls_active.set(self.active)
        if not self._tasks:
            self._is_empty.set()
