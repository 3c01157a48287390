"""What the caller hears: one queue of speech, pulled in blocks of 20 ms as they are due, silence where there is none.

Whoever sends pulls: the blocks never stop, because a browser that gets no packets invents sound for 0.3 s.
"""

import asyncio
import logging

import numpy as np
from numpy.typing import NDArray

from webrtc.interface import PLAYOUT_RATE_HZ, CallClosed
from webrtc.media.pacing import Pacer
from webrtc.media.speech_queue import SpeechQueue

BLOCK_MS = 20
BLOCK_SAMPLES = PLAYOUT_RATE_HZ * BLOCK_MS // 1000
MAX_LATE_S = 0.2  # what a browser's jitter buffer still makes good

_log = logging.getLogger(__name__)


class PacedPlayout:
    """See `webrtc.interface.Playout`. A block that was pulled counts as sent."""

    def __init__(self, *, capacity_ms: int, call_id: str) -> None:
        self._call_id = call_id
        self._queue = SpeechQueue(
            capacity_samples=capacity_ms * PLAYOUT_RATE_HZ // 1000, sample_rate_hz=PLAYOUT_RATE_HZ
        )
        self._pacer = Pacer(interval_s=BLOCK_MS / 1000, max_late_s=MAX_LATE_S)
        self._advanced = asyncio.Event()
        self._is_closed = False

    @property
    def position_samples(self) -> int:
        """Speech sent."""
        return self._queue.position_samples

    @property
    def written_samples(self) -> int:
        """Position at which the accepted speech ends."""
        return self._queue.written_samples

    @property
    def lead_samples(self) -> int:
        """Speech accepted and not yet sent."""
        return self._queue.waiting_samples

    @property
    def underruns(self) -> int:
        """How often speech ran dry inside an utterance."""
        return self._queue.underruns

    @property
    def stalls(self) -> int:
        """How often blocks were so late that their schedule was restarted."""
        return self._pacer.restarts

    def write(self, samples: NDArray[np.float32]) -> int:
        """Accept speech in [-1, 1], [S]; returns the position of its first sample.

        Raises:
            ValueError: not one channel of float32.
            BufferError: beyond the capacity; nothing was accepted.
        """
        return self._queue.write(samples)

    def finish(self) -> None:
        """The utterance is complete: running dry from here on is no underrun."""
        self._queue.finish()

    def duck(self, gain_db: float = -15.0, ramp_ms: float = 10.0) -> None:
        """Go on more quietly."""
        self._queue.set_gain(10 ** (gain_db / 20), ramp_ms=ramp_ms)

    def mute(self, ramp_ms: float = 10.0) -> None:
        """Fade to silence and wait: `resume` goes on with the next sample, `cut` drops what waits."""
        self._queue.mute(ramp_ms=ramp_ms)

    def resume(self, ramp_ms: float = 10.0) -> None:
        """Back to full loudness."""
        self._queue.set_gain(1.0, ramp_ms=ramp_ms)

    def cut(self, fade_ms: float = 10.0) -> int:
        """Fade out within the next block and drop the rest; returns the position at which speech ends."""
        return self._queue.cut(fade_ms=fade_ms)

    async def wait_advanced(self) -> int:
        """Wait until the next block was pulled; returns `position_samples`.

        Raises:
            CallClosed: none will follow.
        """
        if not self._is_closed:
            await self._advanced.wait()
        self._check_open()
        return self.position_samples

    async def next_block(self) -> NDArray[np.float32]:
        """The next block, [480] in [-1, 1], at the time it is due; for one sender.

        Raises:
            CallClosed: none will follow.
        """
        self._check_open()
        loop = asyncio.get_running_loop()
        was_steady = not self._pacer.restarts
        due_s = self._pacer.next_due_s(loop.time())
        if was_steady and self._pacer.restarts:
            _log.warning("call %s: playout stalled for over %d ms", self._call_id, MAX_LATE_S * 1000)
        await asyncio.sleep(due_s - loop.time())
        self._check_open()
        block = self._queue.pop(BLOCK_SAMPLES)
        self._advanced.set()
        self._advanced = asyncio.Event()
        return block

    def close(self) -> None:
        """Give out no further block, and wake who waits for one. Twice is harmless."""
        self._is_closed = True
        self._advanced.set()

    def _check_open(self) -> None:
        if self._is_closed:
            raise CallClosed(f"call {self._call_id} is over: nothing more is played out")
