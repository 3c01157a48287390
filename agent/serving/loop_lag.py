"""How late the event loop runs: the measure by which calls are admitted.

A process whose loop wakes late sends its packets late, and every call hears it. Knows nothing of calls.
"""

import asyncio
import math
from collections import deque

SAMPLE_INTERVAL_S = 0.020  # the tick of a packet: the loop is judged as playout sees it
MIN_SAMPLES = 100  # fewer say nothing of a 99th percentile


class LoopLag:
    """Lateness of wake-ups over the last seconds, and whether it leaves room for one more call."""

    def __init__(self, *, refuse_above_ms: float, readmit_below_ms: float, window_s: float) -> None:
        self._refuse_above_ms = refuse_above_ms
        self._readmit_below_ms = min(readmit_below_ms, refuse_above_ms)
        self._lags_ms: deque[float] = deque(maxlen=max(MIN_SAMPLES, math.ceil(window_s / SAMPLE_INTERVAL_S)))
        self._is_overloaded = False

    def add(self, lag_ms: float) -> None:
        """Take the lateness of one wake-up."""
        self._lags_ms.append(lag_ms)
        limit_ms = self._readmit_below_ms if self._is_overloaded else self._refuse_above_ms
        self._is_overloaded = self.p99_ms > limit_ms

    @property
    def p99_ms(self) -> float:
        """The 99th percentile over the window, in ms; 0 as long as too little is known."""
        if len(self._lags_ms) < MIN_SAMPLES:
            return 0.0
        ordered = sorted(self._lags_ms)
        return ordered[math.ceil(0.99 * len(ordered)) - 1]

    @property
    def is_overloaded(self) -> bool:
        """Whether a further call would hurt the others; two thresholds, so that the answer does not flutter."""
        return self._is_overloaded

    async def sample(self) -> None:
        """Measure until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + SAMPLE_INTERVAL_S
            await asyncio.sleep(SAMPLE_INTERVAL_S)
            self.add(max(0.0, loop.time() - due) * 1000)
