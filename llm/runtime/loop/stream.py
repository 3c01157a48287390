"""One request to an engine, from both sides: what the step loop works on, and the stream that its caller holds."""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from llm.runtime.loop.errors import EngineErrors
from llm.runtime.loop.outlet import Outlet

T = TypeVar("T")


@dataclass(eq=False, slots=True, kw_only=True)
class Request(ABC, Generic[T]):
    """What the step loop must know of a request. Its caller writes the flags, the loop's thread all else."""

    outlet: Outlet[T]
    slot: int = -1  # none yet
    batch_size: int = 0  # of the largest batch it was in
    is_cancelled: bool = False

    @property
    @abstractmethod
    def due_s(self) -> float | None:
        """When its next step should be done, in time.monotonic() seconds; None while no step can do anything for it."""

    @property
    def progress(self) -> int:
        """Grows whenever the engine does something for it, if that can be other than sending an item."""
        return 0

    def is_overdue(self, stall_s: float) -> bool:  # noqa: ARG002  # an engine may always owe its caller something
        """Whether the engine, which has sent nothing for that long, should have."""
        return True


R = TypeVar("R", bound=Request[Any])


class RequestStream(Generic[R, T]):
    """The caller's side: `async with` takes a slot, `async for` takes what comes, leaving cancels."""

    def __init__(
        self, begin: Callable[[], Awaitable[R]], wake: Callable[[], None], *, stall_s: float, errors: EngineErrors
    ) -> None:
        """Nothing is asked of the engine before the context is entered.

        Args:
            begin: makes the request and submits it.
            wake: tells the step loop that a flag of the request or the room in its outlet has changed.
            stall_s: longest wait for the engine without progress.
            errors: the engine's.
        """
        self._begin = begin
        self._wake = wake
        self._stall_s = stall_s
        self._errors = errors
        self._request: R | None = None
        self._is_cancelled = False

    async def __aenter__(self) -> Self:
        """Take a slot; the engine begins at once.

        Raises:
            EngineBusy: no slot, or no room in the cache.
            EngineUnreachable: the engine is stopped or stalled.
        """
        self._request = request = await self._begin()
        self._apply()
        try:
            await request.outlet.wait_until_admitted(self._stall_s)
        except TimeoutError:
            self.cancel()
            raise self._errors.stalled(self._stall_s) from None
        except BaseException:
            self.cancel()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.cancel()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        """The next item.

        Raises:
            EngineUnreachable: the engine is stopped, or does nothing for this request.
            Exception: the engine failed; what was delivered stays right.
        """
        request = self._request
        if request is None or self._is_cancelled:
            raise StopAsyncIteration
        while True:
            progress = request.progress
            try:
                return await request.outlet.take(self._stall_s)
            except TimeoutError:
                if request.progress == progress and request.is_overdue(self._stall_s):
                    self.cancel()
                    raise self._errors.stalled(self._stall_s) from None

    def cancel(self) -> None:
        """End it: nothing more is delivered, and its slot is free at the next step. Twice is harmless."""
        self._is_cancelled = True
        self._apply()

    def _apply(self) -> None:
        """Let the engine see what was asked of this stream."""
        if self._request is None:
            return
        if self._is_cancelled:
            self._request.is_cancelled = True
            self._request.outlet.close()
        self._wake()
