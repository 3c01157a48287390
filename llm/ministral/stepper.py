"""The language engine on the step loop's thread: admits replies, reads their prompts, writes a token of each at a time.

A reply is never moved to a smaller batch, now or later: sums depend on the shape of a batch, so cancelling one reply
leaves the bits of the others alone.
"""

import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from llm.interface import EngineBusy, EngineUnreachable, LanguageModelError
from llm.ministral.chat_format import Markers
from llm.ministral.model import Ministral
from llm.ministral.reply import Job
from llm.ministral.scheduler import Read, Row, Write, next_deadline, plan
from llm.ministral.slots import ReplySlots
from llm.ministral.token_step import FAILED, TokenProgram
from llm.runtime.cache import CacheFull
from llm.runtime.loop.graphs import GraphPool, for_sizes
from llm.runtime.loop.outlet import Handover
from llm.runtime.loop.step_loop import Steppable

logger = logging.getLogger(__name__)

AT_ONCE = float("-inf")


@dataclass(slots=True)
class Counters:
    """What the stepper has done since it was made."""

    replies: int = 0
    prompt_tokens: int = 0  # of all prompts
    reused_tokens: int = 0  # of these, found in the cache
    reads: int = 0  # steps
    writes: int = 0  # steps
    tokens: int = 0  # written


class ReplyStepper(Steppable):
    """Serves the jobs submitted. Made and stepped by the step loop's thread; `submit` comes from any.

    Args:
        slots: the state of all replies.
        handover: the way to the readers.
        markers: where a reply ends.
        batches: sizes of the token step; rows are padded up to the next. The largest has room for every slot.
        prefill_tokens: prompt ids read in one step.
    """

    def __init__(
        self,
        slots: ReplySlots,
        handover: Handover,
        markers: Markers,
        *,
        batches: Sequence[int],
        prefill_tokens: int,
    ) -> None:
        assert max(batches) >= slots.count
        self.counters = Counters()
        self._slots = slots
        self._handover = handover
        self._markers = markers
        self._prefill_tokens = prefill_tokens
        self._submitted: deque[Job] = deque()
        self._jobs: dict[Row, Job] = {}
        self._free = list(reversed(range(slots.count)))
        pool = GraphPool(slots.device)
        self._programs = for_sizes(batches, lambda size: TokenProgram.of(slots, size, pool))

    @property
    def model(self) -> Ministral:
        """What writes."""
        return self._slots.model

    def submit(self, job: Job) -> None:
        """Let the next step admit or refuse it."""
        self._submitted.append(job)

    def next_deadline(self) -> float | None:
        """See Steppable."""
        if self._submitted or any(row.is_cancelled for row in self._jobs):
            return AT_ONCE
        return next_deadline(list(self._jobs))

    def step(self) -> None:
        """See Steppable."""
        try:
            if not self._settle():
                step = plan(list(self._jobs), prefill_tokens=self._prefill_tokens)
                if isinstance(step, Read):
                    self._read(step.parts)
                elif isinstance(step, Write):
                    self._write([self._jobs[row] for row in step.rows])
        finally:
            self._handover.flush()

    def fail(self, error: Exception) -> None:
        """See Steppable."""
        self._end_all(LanguageModelError(f"the language model failed ({error}): ask again"))
        self._slots.prefixes.clear()

    def stop(self) -> None:
        """See Steppable."""
        stopped = EngineUnreachable("the language model was stopped: start it again")
        while self._submitted:
            self._handover.answer(self._submitted.popleft().outlet, stopped)
        self._end_all(stopped)

    def _end_all(self, error: LanguageModelError) -> None:
        for job in self._jobs.values():  # first of all: a device that is lost may not let its slots be freed
            self._handover.finish(job.outlet, error)
        self._handover.flush()
        for job in [*self._jobs.values()]:
            self._release(job, is_sound=False)

    def _settle(self) -> bool:
        """Free the slots of cancelled jobs, then admit new ones; whether there was anything of it to do."""
        arrived = len(self._submitted)  # counted before the flags are read: a slot given up for one of these is seen
        cancelled = [job for job in self._jobs.values() if job.row.is_cancelled]
        for job in cancelled:
            self._end(job)
        anything = bool(cancelled or arrived)
        for _ in range(arrived):
            job = self._submitted.popleft()
            if not job.row.is_cancelled:
                self._handover.answer(job.outlet, self._admit(job))
        return anything

    def _admit(self, job: Job) -> EngineBusy | None:
        """Give the job a slot and its prompt a place in the cache; why not, if not."""
        slots = self._slots
        if not self._free:
            return EngineBusy(f"all {slots.count} slots of the language model are taken: try again later")
        slot = self._free[-1]
        full = EngineBusy("the cache of the language model is full: try later or raise cache_tokens")
        try:
            reused = slots.open(slot, job.ids, job.seed, job.temperature, job.top_p)
        except (CacheFull, torch.OutOfMemoryError):
            return full
        promised = sum(map(self._pages_to_come, self._jobs.values()))
        if promised + slots.pages_to_come(slot, len(job.ids) + job.most_tokens) > slots.free_pages:
            slots.free(slot)
            return full
        self._free.pop()
        job.row.slot = slot
        job.row.unread = slots.unread(slot)
        self._jobs[job.row] = job
        self.counters.replies += 1
        self.counters.prompt_tokens += len(job.ids)
        self.counters.reused_tokens += reused
        return None

    def _pages_to_come(self, job: Job) -> int:
        """Cache pages that the job may still take."""
        return self._slots.pages_to_come(job.row.slot, len(job.ids) + job.most_tokens)

    def _read(self, parts: Sequence[tuple[Row, int]]) -> None:
        self._slots.read([(row.slot, tokens) for row, tokens in parts])
        self.counters.reads += 1
        for row, tokens in parts:
            row.unread -= tokens

    def _write(self, jobs: Sequence[Job]) -> None:
        jobs = [job for job in jobs if self._reserve(job)]
        if not jobs:
            return
        size = max(len(jobs), *(job.batch_size for job in jobs))
        program = next(program for program in self._programs if program.batch.size >= size)
        tokens = program.step([job.row.slot for job in jobs])
        self.counters.writes += 1
        for job, token in zip(jobs, tokens, strict=True):
            job.batch_size = program.batch.size
            self._add(job, token)

    def _reserve(self, job: Job) -> bool:
        """Whether the job can go on: it has a place in the cache for its next token."""
        try:
            self._slots.reserve(job.row.slot)
        except CacheFull:
            logger.warning("no room in the cache after %d tokens of a reply", job.row.written)
            self._end(job, EngineBusy("the cache of the language model is full: raise cache_tokens"))
            return False
        return True

    def _add(self, job: Job, token: int) -> None:
        if token == FAILED:
            logger.error("a reply became not-a-number after %d tokens", job.row.written)
            self._end(job, LanguageModelError("the reply became not-a-number: ask again"), is_sound=False)
            self._slots.prefixes.clear()  # its beginning may be why
            return
        self._slots.add(job.row.slot, token)
        self.counters.tokens += 1
        job.row.written += 1
        if token == self._markers.end:
            self._finish(job)
            return
        for piece in job.pieces.add(token):
            self._handover.send(job.outlet, piece)
        if job.row.written >= job.most_tokens:
            self._cut(job)

    def _finish(self, job: Job) -> None:
        for piece in job.pieces.end():
            self._handover.send(job.outlet, piece)
        self._end(job)

    def _cut(self, job: Job) -> None:
        """The reply is as long as one may be. Half a tool call is not run."""
        job.is_cut = True
        error = None
        if not job.is_limit_asked:
            logger.warning("a reply was cut after %d tokens", job.row.written)
        if job.pieces.is_in_call and not job.is_limit_asked:
            error = LanguageModelError(f"a tool call was not whole after {job.most_tokens} tokens: raise reply_tokens")
        self._end(job, error)

    def _end(self, job: Job, error: Exception | None = None, *, is_sound: bool = True) -> None:
        """Finish the job's outlet and free its slot and pages."""
        self._handover.finish(job.outlet, error)
        self._release(job, is_sound=is_sound)

    def _release(self, job: Job, *, is_sound: bool) -> None:
        del self._jobs[job.row]
        self._slots.free(job.row.slot, is_sound=is_sound)
        self._free.append(job.row.slot)
