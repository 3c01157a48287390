"""One utterance, from both sides: the job that the step loop works on and what its listener holds."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from llm.runtime.loop.outlet import Outlet
from tts.chunks import ChunkCutter
from tts.interface import EngineUnreachable, SpeechChunk, Utterance
from tts.voxtral.scheduler import Row


@dataclass(eq=False, slots=True)
class Job:
    """What the step loop must know of an utterance. Only the row's flags are written from outside its thread."""

    row: Row
    voice: str
    text_ids: Sequence[int]
    characters: int
    seed: int  # of its noise
    expected_frames: int
    most_frames: int  # where it is cut if it does not end
    cutter: ChunkCutter
    outlet: Outlet[SpeechChunk]
    batch_size: int = 0  # of the largest batch it was in
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
        most_frames: int,
        lead_frames: int,
        changed: Callable[[], None],
    ) -> Self:
        """A job submitted now; `changed` is called when its listener has taken a chunk."""
        outlet = Outlet[SpeechChunk](lead_frames, on_taken=changed)
        return cls(
            row=Row(submitted_s=time.monotonic(), prompt_tokens=len(text_ids), has_room=lambda: outlet.has_room),
            voice=voice,
            text_ids=text_ids,
            characters=len(text),
            seed=seed,
            expected_frames=expected_frames,
            most_frames=most_frames,
            cutter=ChunkCutter(text, expected_frames, sample_rate_hz),
            outlet=outlet,
        )


class VoxtralUtterance(Utterance):
    """The listener's side.

    Args:
        begin: makes the utterance's job and submits it.
        changed: tells the engine that a flag or the room in the outlet has changed.
        stall_s: longest wait for the engine.
    """

    def __init__(self, begin: Callable[[], Job], changed: Callable[[], None], stall_s: float) -> None:
        self._begin = begin
        self._changed = changed
        self._stall_s = stall_s
        self._job: Job | None = None
        self._is_held = False
        self._is_cancelled = False

    @property
    def euler_steps_launched(self) -> int:
        """Euler steps launched for this utterance so far."""
        return self._job.euler_steps if self._job else 0

    async def __aenter__(self) -> Self:
        """Take a slot; the engine begins at once.

        Raises:
            EngineBusy: no slot, or no room in the cache.
            EngineUnreachable: the engine is stopped or stalled.
        """
        job = self._begin()
        self._job = job
        self._apply()
        try:
            await job.outlet.admitted(self._stall_s)
        except TimeoutError:
            self.cancel()
            raise EngineUnreachable(f"the speech engine did not answer for {self._stall_s:g} s: restart it") from None
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

    async def __anext__(self) -> SpeechChunk:
        """The next chunk: 70 ms at first, then 80 ms, 10 ms at the end.

        Raises:
            EngineUnreachable: nothing came for too long.
            SynthesisError: the synthesis of this utterance failed; what was delivered stays right.
        """
        if self._job is None or self._is_cancelled:
            raise StopAsyncIteration
        try:
            return await self._job.outlet.take(self._stall_s)
        except TimeoutError:
            self.cancel()
            raise EngineUnreachable(
                f"the speech engine delivered nothing for {self._stall_s:g} s: restart it"
            ) from None

    def hold(self) -> None:
        """Launch no further frame and deliver nothing until `resume`; the frame in flight is drawn again then."""
        self._is_held = True
        self._apply()

    def resume(self) -> None:
        """Go on with the same samples."""
        self._is_held = False
        self._apply()

    def cancel(self) -> None:
        """End it; its slot is free at the next step."""
        self._is_cancelled = True
        self._apply()

    def _apply(self) -> None:
        job = self._job
        if job is None:
            return
        job.row.is_held = self._is_held
        job.row.is_cancelled = self._is_cancelled
        if self._is_cancelled:
            job.outlet.close()
        elif self._is_held:
            job.outlet.pause()
        else:
            job.outlet.unpause()
        self._changed()
