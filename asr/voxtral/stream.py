"""One stream of audio, from both sides: what the step loop works on and what its listener holds."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from asr.interface import AudioRejected, EngineBusy, EngineUnreachable, Recognition, Transcript
from asr.voxtral.blocks import Block, BlockCutter, Item
from asr.voxtral.turn_text import TurnText
from llm.runtime.loop.outlet import Outlet

LOUDEST = 4.0  # a resampler may overshoot 1.0 a little; integers that were never scaled are far above


@dataclass(eq=False, slots=True)
class Stream:
    """What the step loop must know. Its listener appends items and sets `is_gone`; all else is the loop's thread's."""

    delay: int  # in steps
    outlet: Outlet[Transcript]
    recent: deque[Block]  # what the model heard last in this turn, to be heard again
    items: deque[Item] = field(default_factory=deque[Item])
    is_gone: bool = False
    slot: int = -1
    text: TurnText | None = None  # of the turn that has the slot's state
    blanks: int = 0  # steps of this turn since the last that wrote

    @property
    def due_s(self) -> float | None:
        """When its next item should be done; None if there is none or nobody has room for what comes of it."""
        try:
            return self.items[0].due_s if self.outlet.has_room else None
        except IndexError:  # both threads ask
            return None


class VoxtralRecognition(Recognition):
    """The listener's side.

    Args:
        begin: makes the stream and submits it.
        changed: tells the engine that there is something new.
        backlog: most blocks waiting to be heard.
        stall_s: longest wait for the engine while it has something to do.
    """

    def __init__(
        self, begin: Callable[[], Stream], changed: Callable[[], None], *, backlog: int, stall_s: float
    ) -> None:
        self._begin = begin
        self._changed = changed
        self._backlog = backlog
        self._stall_s = stall_s
        self._stream: Stream | None = None
        self._cutter: BlockCutter | None = None

    async def __aenter__(self) -> Self:
        """Take a slot.

        Raises:
            EngineBusy: every slot is taken.
            EngineUnreachable: the engine is stopped or stalled.
        """
        stream = self._begin()
        self._stream, self._cutter = stream, BlockCutter(stream.delay)
        try:
            await stream.outlet.admitted(self._stall_s)
        except TimeoutError:
            self._leave()
            raise self._stalled() from None
        except BaseException:
            self._leave()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._leave()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Transcript:
        """The next transcript.

        Raises:
            EngineBusy: the engine fell too far behind, or its cache is full.
            EngineUnreachable: the engine has stopped, or does not answer.
            RecognitionError: the engine failed.
        """
        stream = self._stream
        if stream is None:
            raise StopAsyncIteration
        while True:
            try:
                return await stream.outlet.take(self._stall_s)
            except TimeoutError:
                if self._is_stalled(stream):
                    self._leave()
                    raise self._stalled() from None

    def push(self, samples: NDArray[np.float32]) -> None:
        """Take samples; see `asr.interface.Recognition`."""
        check(samples)
        if self._cutter is not None:
            self._hand_over(self._cutter.push(samples, time.monotonic()))

    def flush(self) -> None:
        """End the turn; see `asr.interface.Recognition`. What is pushed from now on belongs to the next."""
        if self._cutter is not None:
            self._hand_over(self._cutter.flush(time.monotonic()))

    def _hand_over(self, items: list[Item]) -> None:
        stream = self._stream
        if stream is None or stream.is_gone or not items:
            return
        if len(stream.items) + len(items) > self._backlog:
            stream.outlet.finish(
                EngineBusy(f"recognition fell {self._backlog} blocks of 80 ms behind: listen to fewer streams at once")
            )
            stream.is_gone = True
        else:
            stream.items.extend(items)
        self._changed()

    def _leave(self) -> None:
        if self._stream is not None:
            self._stream.is_gone = True
            self._stream.outlet.close()
            self._changed()

    def _is_stalled(self, stream: Stream) -> bool:
        due_s = stream.due_s
        return due_s is not None and due_s + self._stall_s < time.monotonic()

    def _stalled(self) -> EngineUnreachable:
        return EngineUnreachable(f"the recognition engine did nothing for {self._stall_s:g} s: restart it")


def check(samples: NDArray[np.float32]) -> None:
    """Raise AudioRejected unless these are one channel of finite float32 samples of about [-1, 1]."""
    if samples.dtype != np.float32 or samples.ndim != 1:
        raise AudioRejected(
            f"wanted one channel of float32 samples at 16 kHz, found {samples.dtype} of shape {samples.shape}: "
            "convert it first"
        )
    loudest = float(np.abs(samples).max(initial=0.0))
    if not np.isfinite(loudest):
        raise AudioRejected("wanted finite samples in [-1, 1], found NaN or infinity: look at the source")
    if loudest > LOUDEST:
        raise AudioRejected(f"wanted samples in [-1, 1], found {loudest:g}: divide 16-bit samples by 32768")
