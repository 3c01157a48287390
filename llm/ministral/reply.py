"""One reply of our own engine, from both sides: the job that the step loop works on and what its reader holds."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from llm.interface import Ending, EngineUnreachable, Reply
from llm.ministral.detokenize import Piece, ReplyPieces
from llm.ministral.scheduler import Row
from llm.runtime.loop.outlet import Outlet


@dataclass(eq=False, slots=True)
class Job:
    """What the step loop must know of a reply. Only the row's `is_cancelled` is written from outside its thread."""

    row: Row
    ids: Sequence[int]  # of the prompt
    seed: int
    temperature: float
    top_p: float
    most_tokens: int  # where it is cut if it does not end
    is_limit_asked: bool  # by its reader, who so expects it to be cut
    pieces: ReplyPieces
    outlet: Outlet[Piece]
    batch_size: int = 0  # of the largest batch it was in
    is_cut: bool = False

    @property
    def progress(self) -> int:
        """Grows whenever the engine does something for it."""
        return self.row.written - self.row.unread


class LocalReply(Reply):
    """The reader's side.

    Args:
        begin: writes the prompt's ids, makes the reply's job and submits it.
        changed: tells the engine that the flag or the room in the outlet has changed.
        stall_s: longest wait for the engine without progress.
    """

    def __init__(self, begin: Callable[[], Awaitable[Job]], changed: Callable[[], None], stall_s: float) -> None:
        self._begin = begin
        self._changed = changed
        self._stall_s = stall_s
        self._job: Job | None = None
        self._is_cancelled = False

    async def __aenter__(self) -> Self:
        """Take a slot; the engine begins at once.

        Raises:
            ContextTooLong: the messages do not fit.
            EngineBusy: no slot, or no room in the cache.
            EngineUnreachable: the engine is stopped or stalled.
        """
        job = await self._begin()
        self._job = job
        if self._is_cancelled:
            self.cancel()
        try:
            await job.outlet.admitted(self._stall_s)
        except TimeoutError:
            self.cancel()
            raise self._stalled() from None
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

    async def __anext__(self) -> Piece:
        """The next piece.

        Raises:
            EngineUnreachable: the engine has stopped, or does nothing for this reply.
            LanguageModelError: the engine failed; what was delivered stays right.
        """
        job = self._job
        if job is None or self._is_cancelled:
            raise StopAsyncIteration
        while True:
            progress = job.progress
            try:
                return await job.outlet.take(self._stall_s)
            except TimeoutError:
                if job.progress == progress:  # else it wrote what is no piece yet, such as half a tool call
                    self.cancel()
                    raise self._stalled() from None

    def cancel(self) -> None:
        """End it; its slot is free at the next step."""
        self._is_cancelled = True
        if self._job is not None:
            self._job.row.is_cancelled = True
            self._job.outlet.close()
            self._changed()

    @property
    def ending(self) -> Ending:
        """How it ended; the step loop writes no more to a job that is finished."""
        job = self._job
        return Ending() if job is None else Ending(job.is_cut, len(job.ids), job.row.written)

    def _stalled(self) -> EngineUnreachable:
        return EngineUnreachable(f"the language model did nothing for {self._stall_s:g} s: restart it")
