"""Which of several engines to try first: the order of the configuration, those that failed of late last."""

import time
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Engine = TypeVar("Engine")

COOL_DOWN_S = 30.0  # after a failure; a dead server costs one attempt in that time, not one a sentence


class Health(Generic[Engine]):
    """Remembers failures; shared by all streams of a list of engines, to which engines may be added meanwhile."""

    def __init__(self, engines: Sequence[Engine], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._engines = engines
        self._clock = clock
        self._ill_until_s: dict[int, float] = {}  # by the engine's id

    def order(self) -> list[Engine]:
        """Every engine, the one to try first first."""
        return sorted(self._engines, key=lambda engine: not self.is_well(engine))

    def is_well(self, engine: Engine) -> bool:
        """Whether it has not failed of late."""
        return self._ill_until_s.get(id(engine), 0.0) <= self._clock()

    def failed(self, engine: Engine) -> None:
        """An engine did not do what it should."""
        self._ill_until_s[id(engine)] = self._clock() + COOL_DOWN_S
