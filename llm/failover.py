"""Which of several engines serves a stream: who is tried next, and how long one that failed is left alone."""

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from typing import Generic, TypeVar

_log = logging.getLogger(__name__)

Engine = TypeVar("Engine")
Stream = TypeVar("Stream")

COOL_DOWN_S = 30.0  # after a failure; a dead server costs one attempt in that time, not one a sentence


class Health(Generic[Engine]):
    """Remembers failures; shared by all streams of a list of engines, to which engines may be added meanwhile."""

    def __init__(self, engines: Sequence[Engine], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._engines = engines
        self._clock = clock
        self._unhealthy_until_s: dict[int, float] = {}  # by the engine's id

    def order(self) -> list[Engine]:
        """Every engine in the order of the configuration, those that are cooling down last."""
        return sorted(self._engines, key=lambda engine: not self.is_healthy(engine))

    def is_healthy(self, engine: Engine) -> bool:
        """Whether it has not failed in the last COOL_DOWN_S."""
        return self._unhealthy_until_s.get(id(engine), 0.0) <= self._clock()

    def note_failure(self, engine: Engine) -> None:
        """Let an engine that did not do what it should cool down."""
        self._unhealthy_until_s[id(engine)] = self._clock() + COOL_DOWN_S


@dataclass(frozen=True, slots=True)
class FailoverErrors:
    """What the errors of an interface mean for the choice of an engine; all others are failures of the engine."""

    service: str  # in messages, such as "speech"
    kind: type[Exception]
    of_caller: tuple[type[Exception], ...]  # no other engine would help
    of_stream: tuple[type[Exception], ...] = ()  # the engine serves other streams as well as ever


class Failover(Generic[Engine]):
    """One stream's way through the engines. What is open is closed by `aclose`.

    Attributes:
        current: the engine that serves the stream, or was tried last.
        keeps_engine: set it once no other engine can take over.
    """

    current: Engine

    def __init__(self, health: Health[Engine], errors: FailoverErrors) -> None:
        self.keeps_engine = False
        self._health = health
        self._errors = errors
        self._untried = health.order()
        self._skipped: list[Engine] = []
        self._stack = AsyncExitStack()

    async def open_next(self, begin: Callable[[Engine], AbstractAsyncContextManager[Stream]]) -> Stream:
        """Leave the current engine, and enter what `begin` makes of the next one that lets us in.

        Raises:
            Exception: as `fail_over`.
        """
        await self._stack.aclose()
        while True:
            self.current = self._untried.pop(0)
            try:
                return await self._stack.enter_async_context(begin(self.current))
            except self._errors.kind as error:
                self.fail_over(error)

    def fail_over(self, error: Exception) -> None:
        """Note that the current engine failed, so that the next may take over.

        Raises:
            Exception: that error, if it is the caller's doing or no engine can take over.
        """
        if isinstance(error, self._errors.of_caller):
            raise error
        self._note(self.current, error)
        if self.keeps_engine or not self._untried:
            raise error
        _log.warning("%s failed, falling back to the next engine: %s", self._errors.service, error)

    def renew(self) -> None:
        """Let every other engine be tried again if the current one fails."""
        self._untried = [engine for engine in self._candidates() if engine is not self.current]

    async def go_back(
        self, begin: Callable[[Engine], AbstractAsyncContextManager[Stream]], use: Callable[[Stream], None]
    ) -> None:
        """Change to the preferred engine if that is another and healthy again, and lets us in.

        `use` is given its stream before the current one is left.
        """
        best = self._candidates()[0]
        if best is self.current or not self._health.is_healthy(best):
            return
        stack = AsyncExitStack()
        try:
            stream = await stack.enter_async_context(begin(best))
        except self._errors.kind as error:
            self._note(best, error)
            return
        left, self._stack, self.current = self._stack, stack, best
        self.renew()
        use(stream)
        await left.aclose()

    async def aclose(self) -> None:
        """Leave the current engine."""
        await self._stack.aclose()

    def _candidates(self) -> list[Engine]:
        return [engine for engine in self._health.order() if engine not in self._skipped]

    def _note(self, engine: Engine, error: Exception) -> None:
        if isinstance(error, self._errors.of_stream):
            self._skipped.append(engine)
        else:
            self._health.note_failure(engine)
