"""One utterance, from both sides: the request that the step loop works on and what its listener holds."""

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Self

from llm.runtime.loop.errors import EngineErrors
from llm.runtime.loop.outlet import Outlet
from llm.runtime.loop.stream import Request, RequestStream
from tts.chunks import ChunkCutter
from tts.interface import EngineBusy, EngineUnreachable, SpeechChunk, SynthesisError

ERRORS = EngineErrors(
    engine="the speech engine",
    slots="slots",
    retry="say it again",
    cache_setting="cache_tokens_per_slot",
    failed=SynthesisError,
    busy=EngineBusy,
    unreachable=EngineUnreachable,
)


@dataclass(eq=False, slots=True, kw_only=True)
class UtteranceRequest(Request[SpeechChunk]):
    """What the step loop must know of an utterance."""

    voice: str
    text_ids: Sequence[int]
    characters: int
    seed: int  # of its noise
    expected_frames: int
    max_frames: int  # where it is cut if it does not end
    cutter: ChunkCutter
    submitted_s: float = field(default_factory=time.monotonic)
    is_held: bool = False
    is_prefilled: bool = False
    frames: int = 0  # committed
    next_frame_s: float = 0.0  # when the listener has less than a frame in hand
    euler_steps: int = 0  # launched for it

    @classmethod
    def of(
        cls,
        text: str,
        text_ids: Sequence[int],
        *,
        voice: str,
        seed: int,
        sample_rate_hz: int,
        expected_frames: int,
        max_frames: int,
        lead_frames: int,
        wake: Callable[[], None],
    ) -> Self:
        """A request submitted now; `wake` is called when its listener has taken a chunk."""
        return cls(
            outlet=Outlet[SpeechChunk](lead_frames, on_taken=wake),
            voice=voice,
            text_ids=text_ids,
            characters=len(text),
            seed=seed,
            expected_frames=expected_frames,
            max_frames=max_frames,
            cutter=ChunkCutter(text, expected_frames, sample_rate_hz),
        )

    @property
    def is_live(self) -> bool:
        """Whether a frame of it is wanted now."""
        return not (self.is_held or self.is_cancelled)

    @property
    def due_s(self) -> float | None:
        """From when it was submitted until its first frame; then when its listener has less than a frame in hand.

        The prompt of a request that is held is read all the same, so that it can begin at once.
        """
        can_run = self.is_live and self.outlet.has_room if self.is_prefilled else not self.is_cancelled
        if not can_run:
            return None
        return self.next_frame_s if self.frames else self.submitted_s

    def commit_frame(self, now_s: float, frame_s: float) -> None:
        """A frame goes to the listener, who plays without a pause from the first on."""
        dry_s = self.next_frame_s + frame_s if self.frames else now_s
        self.next_frame_s = max(dry_s, now_s)
        self.frames += 1


class VoxtralUtterance(RequestStream[UtteranceRequest, SpeechChunk]):
    """The listener's side, a `tts.interface.Utterance`: chunks of 70 ms at first, then 80 ms, 10 ms at the end."""

    def __init__(
        self, begin: Callable[[], Awaitable[UtteranceRequest]], wake: Callable[[], None], *, stall_s: float
    ) -> None:
        """See RequestStream."""
        super().__init__(begin, wake, stall_s=stall_s, errors=ERRORS)
        self._is_held = False

    @property
    def euler_steps_launched(self) -> int:
        """Euler steps launched for this utterance so far."""
        return self._request.euler_steps if self._request else 0

    def hold(self) -> None:
        """Launch no further frame and deliver nothing until `resume`; the frame in flight is drawn again then."""
        self._is_held = True
        self._apply()

    def resume(self) -> None:
        """Go on with the same samples."""
        self._is_held = False
        self._apply()

    def _apply(self) -> None:
        request = self._request
        if request is not None:
            request.is_held = self._is_held
            if self._is_held:
                request.outlet.pause()
            else:
                request.outlet.unpause()
        super()._apply()
