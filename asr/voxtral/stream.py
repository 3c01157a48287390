"""One stream of audio, from both sides: the request that the step loop works on and what its listener holds."""

import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from asr.interface import EngineBusy, EngineUnreachable, RecognitionError, Transcript, check_samples
from asr.voxtral.blocks import AudioBlock, BlockCutter, Item
from asr.voxtral.turn_text import TurnText
from llm.runtime.loop.errors import EngineErrors
from llm.runtime.loop.stream import Request, RequestStream

ERRORS = EngineErrors(
    engine="the recognition engine",
    slots="streams",
    retry="open the stream again",
    cache_setting="context_s",
    failed=RecognitionError,
    busy=EngineBusy,
    unreachable=EngineUnreachable,
)


@dataclass(eq=False, slots=True, kw_only=True)
class ListeningRequest(Request[Transcript]):
    """What the step loop must know of a stream. Its listener also appends items."""

    delay: int  # in steps
    recent: deque[AudioBlock]  # what the model heard last in this turn, to be heard again
    items: deque[Item] = field(default_factory=deque[Item])
    text: TurnText | None = None  # of the turn that has the slot's state
    blanks: int = 0  # steps of this turn since the last that wrote

    @property
    def due_s(self) -> float | None:
        """When its next item should be done; None if there is none, or no room for what comes of it."""
        try:
            return self.items[0].due_s if self.outlet.has_room else None
        except IndexError:  # both threads ask
            return None

    def is_overdue(self, stall_s: float) -> bool:
        """See Request: without audio there is nothing to do."""
        due_s = self.due_s
        return due_s is not None and due_s + stall_s < time.monotonic()


class VoxtralRecognition(RequestStream[ListeningRequest, Transcript]):
    """The listener's side, an `asr.interface.Recognition`.

    Args:
        begin, wake, stall_s: see RequestStream.
        backlog: most blocks that may wait to be heard.
    """

    def __init__(
        self,
        begin: Callable[[], Awaitable[ListeningRequest]],
        wake: Callable[[], None],
        *,
        stall_s: float,
        delay: int,
        backlog: int,
    ) -> None:
        super().__init__(begin, wake, stall_s=stall_s, errors=ERRORS)
        self._backlog = backlog
        self._cutter = BlockCutter(delay)

    def push(self, samples: NDArray[np.float32]) -> None:
        """Take samples; see `asr.interface.Recognition`."""
        check_samples(samples)
        if self._request is not None:
            self._add(self._request, self._cutter.push(samples, time.monotonic()))

    def flush(self) -> None:
        """End the turn; see `asr.interface.Recognition`. What is pushed from now on belongs to the next."""
        if self._request is not None:
            self._add(self._request, self._cutter.flush(time.monotonic()))

    def _add(self, request: ListeningRequest, items: list[Item]) -> None:
        if request.is_cancelled or not items:
            return
        if len(request.items) + len(items) > self._backlog:
            request.outlet.finish(
                EngineBusy(f"recognition fell {self._backlog} blocks of 80 ms behind: listen to fewer streams at once")
            )
            request.is_cancelled = True
        else:
            request.items.extend(items)
        self._wake()
