"""What every engine does on the step loop's thread beside its steps: admit requests, and end them for whatever reason.

A request holds a slot from its admission to its end. One that was cancelled gives its slot back at the next step.
"""

import logging
from abc import abstractmethod
from collections import deque
from collections.abc import Sequence
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from llm.runtime.cache import CacheFull
from llm.runtime.loop.errors import EngineErrors
from llm.runtime.loop.outlet import Outlets
from llm.runtime.loop.step_loop import Steppable
from llm.runtime.loop.stream import Request

_log = logging.getLogger(__name__)

AT_ONCE = float("-inf")


class Slots(Protocol):
    """The state of all requests being served, one slot each."""

    count: int

    def reserve(self, slot: int) -> None:
        """See to it that the slot's next step has a place in the cache. Raises CacheFull, with its state as it was."""
        ...


R = TypeVar("R", bound=Request[Any])
S = TypeVar("S", bound=Slots)


class RequestStepper(Steppable, Generic[R, S]):
    """Serves the requests submitted. Made and stepped by the step loop's thread; `submit` comes from any.

    Attributes:
        errors: the engine's.
    """

    errors: ClassVar[EngineErrors]

    def __init__(self, slots: S, outlets: Outlets) -> None:
        """For requests whose state is in these slots and whose callers are reached through these outlets."""
        self._slots = slots
        self._outlets = outlets
        self._submitted: deque[R] = deque()
        self._requests: dict[int, R] = {}  # by slot
        self._free = list(reversed(range(slots.count)))

    def submit(self, request: R) -> None:
        """Let the next step admit or refuse it."""
        self._submitted.append(request)

    def next_deadline(self) -> float | None:
        """See Steppable."""
        if self._submitted:
            return AT_ONCE
        deadlines = [AT_ONCE if request.is_cancelled else request.due_s for request in self._requests.values()]
        return min((due_s for due_s in deadlines if due_s is not None), default=None)

    def step(self) -> None:
        """See Steppable."""
        try:
            if not self._settle():
                self._serve([*self._requests.values()])
        finally:
            self._outlets.flush()

    def fail(self, error: Exception) -> None:
        """See Steppable."""
        self._end_all(self.errors.step_failed(error))

    def stop(self) -> None:
        """See Steppable."""
        stopped = self.errors.stopped()
        while self._submitted:
            self._outlets.answer(self._submitted.popleft().outlet, stopped)
        self._end_all(stopped)

    @abstractmethod
    def _open(self, request: R) -> Exception | None:
        """Begin what is to be begun for a request that was given a free slot; why it cannot be, if so."""

    @abstractmethod
    def _serve(self, requests: Sequence[R]) -> None:
        """One batched pass for the requests admitted, in order of admission."""

    @abstractmethod
    def _close(self, request: R) -> None:
        """Free what the request's slot holds."""

    def _settle(self) -> bool:
        """Free the slots of cancelled requests, then admit new ones; whether there was anything of it to do."""
        arrived = len(self._submitted)  # counted before the flags are read: a slot given up for one of these is seen
        cancelled = [request for request in self._requests.values() if request.is_cancelled]
        for request in cancelled:
            self._end(request)
        for _ in range(arrived):
            request = self._submitted.popleft()
            if not request.is_cancelled:
                self._outlets.answer(request.outlet, self._admit(request))
        return bool(cancelled or arrived)

    def _admit(self, request: R) -> Exception | None:
        """Give the request a slot; why not, if not."""
        if not self._free:
            return self.errors.slots_taken(self._slots.count)
        request.slot = self._free[-1]
        refusal = self._open(request)
        if refusal is None:
            self._requests[self._free.pop()] = request
        return refusal

    def _reserve(self, request: R) -> bool:
        """Whether the request can go on: there is a place in the cache for its next step."""
        try:
            self._slots.reserve(request.slot)
        except CacheFull:
            _log.warning("no room in the cache of %s: a request is ended", self.errors.engine)
            self._end(request, self.errors.cache_full())
            return False
        return True

    def _end_all(self, error: Exception) -> None:
        for request in self._requests.values():  # first: a device that is lost may not let its slots be freed
            self._outlets.finish(request.outlet, error)
        self._outlets.flush()
        for request in [*self._requests.values()]:
            self._release(request)

    def _end(self, request: R, error: Exception | None = None) -> None:
        """Finish the request's outlet and free its slot."""
        self._outlets.finish(request.outlet, error)
        self._release(request)

    def _release(self, request: R) -> None:
        del self._requests[request.slot]
        self._close(request)
        self._free.append(request.slot)
