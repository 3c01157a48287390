"""Which of several engines to try first: the order of the configuration, those that failed of late last."""

import time
from collections.abc import Callable

COOL_DOWN_S = 30.0  # after a failure; a dead server costs one attempt in that time, not one a sentence


class Health:
    """Remembers failures; shared by all streams of a list of engines."""

    def __init__(self, count: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._ill_until_s = [0.0] * count

    def order(self) -> list[int]:
        """Every engine's index, the one to try first first."""
        now_s = self._clock()
        return sorted(range(len(self._ill_until_s)), key=lambda index: (self._ill_until_s[index] > now_s, index))

    def failed(self, index: int) -> None:
        """An engine did not do what it should."""
        self._ill_until_s[index] = self._clock() + COOL_DOWN_S
