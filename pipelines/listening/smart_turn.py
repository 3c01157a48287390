"""Smart Turn v3: does the intonation of what was said sound finished? One model and one thread for all calls.

Only a hint: on synthetic voices it judges half of the complete sentences incomplete.
"""

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pipecat.audio.turn.smart_turn.local_smart_turn_v3 import LocalSmartTurnAnalyzerV3

_log = logging.getLogger(__name__)

COMPLETE_PROBABILITY = 0.5
WAIT_SECONDS = 1.0  # a later answer is of no use


class SmartTurn:
    """The process's model. Inference takes about 35 ms of one core and never runs on the event loop."""

    def __init__(self) -> None:
        self._analyzer: Any = LocalSmartTurnAnalyzerV3(sample_rate=16_000)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="smart-turn")

    async def sounds_complete(self, samples: NDArray[np.float32]) -> bool | None:
        """Whether the last seconds, 16 kHz [n] in [-1, 1], end a thought; None if that cannot be said in time."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                answer = await loop.run_in_executor(self._thread, self._analyzer._predict_endpoint, samples)
        except TimeoutError:
            return None
        except Exception as error:  # a hint is not worth a call
            _log.warning("Smart Turn gave no answer: %r", error)
            return None
        return float(answer["probability"]) >= COMPLETE_PROBABILITY

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)


@cache
def shared_smart_turn() -> SmartTurn:
    """The process's Smart Turn, loaded on first use (70 MB, 50 ms): call it once before the first call."""
    return SmartTurn()
