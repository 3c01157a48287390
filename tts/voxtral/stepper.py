"""The speech engine on the step loop's thread: admits, prefills and synthesises one frame at a time for all rows.

Between Euler steps it reads the rows' flags. A row that was held or cancelled drops out of the frame, which commits
nothing of it; when all have, the frame ends there. The rows left are computed as if nothing had happened, to the bit:
sums depend on the shape of a batch, so an utterance is never moved to a smaller one, now or later.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from llm.runtime.cache import CacheFull
from llm.runtime.loop.graphs import GraphPool, for_sizes
from llm.runtime.loop.outlet import Handover
from llm.runtime.loop.step_loop import Steppable
from tts.chunks import SpeakingRate
from tts.interface import EngineBusy, EngineUnreachable, SynthesisError
from tts.voxtral.captured_step import FrameProgram
from tts.voxtral.model import VoxtralTTS
from tts.voxtral.scheduler import Prefill, Row, Scheduler, Speak
from tts.voxtral.slots import SpeechSlots, Start
from tts.voxtral.utterance import Job

logger = logging.getLogger(__name__)

AT_ONCE = float("-inf")


@dataclass(slots=True)
class Counters:
    """What the stepper has done since it was made."""

    prefills: int = 0
    prompts: int = 0
    frame_steps: int = 0
    frames: int = 0  # of rows, committed
    frames_dropped: int = 0  # of rows, begun and not committed
    euler_steps: int = 0  # of batches


class SpeechStepper(Steppable):
    """Serves the jobs submitted. Made and stepped by the step loop's thread; `submit` comes from any.

    Args:
        slots: the state of all utterances.
        handover: the way to the listeners.
        batches: sizes of the frame step; rows are padded up to the next.
        prefill_tokens: text tokens read in one step.
        guidance: classifier-free guidance of every utterance.
        clock: seconds, as those in which the jobs say when they were submitted.

    Attributes:
        counters: what was done.
        rate: how fast the voices speak, learnt from whole utterances.
        programs: the frame step for each batch size, smallest first.
    """

    def __init__(
        self,
        slots: SpeechSlots,
        handover: Handover,
        *,
        batches: Sequence[int],
        prefill_tokens: int,
        guidance: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.counters = Counters()
        self.rate = SpeakingRate()
        self._slots = slots
        self._handover = handover
        self._guidance = guidance
        self._clock = clock
        self._scheduler = Scheduler(
            slots=slots.count,
            largest_batch=max(batches),
            prefill_tokens=prefill_tokens,
            frame_s=slots.model.config.codec.frame_s,
        )
        self._submitted: deque[Job] = deque()
        self._jobs: dict[Row, Job] = {}
        pool = GraphPool(slots.device)
        self.programs = for_sizes(batches, lambda size: FrameProgram.of(slots, size, pool))

    @property
    def model(self) -> VoxtralTTS:
        """What speaks."""
        return self._slots.model

    def submit(self, job: Job) -> None:
        """Let the next step admit or refuse it."""
        self._submitted.append(job)

    def next_deadline(self) -> float | None:
        """See Steppable."""
        if self._submitted or any(row.is_cancelled for row in self._jobs):
            return AT_ONCE
        return self._scheduler.next_deadline()

    def step(self) -> None:
        """See Steppable."""
        try:
            if not self._settle():
                plan = self._scheduler.plan()
                if isinstance(plan, Prefill):
                    self._prefill([self._jobs[row] for row in plan.rows])
                elif isinstance(plan, Speak):
                    self._speak([self._jobs[row] for row in plan.rows])
        finally:
            self._handover.flush()

    def fail(self, error: Exception) -> None:
        """See Steppable."""
        self._end_all(SynthesisError(f"the speech engine failed ({error}): say it again"))

    def stop(self) -> None:
        """See Steppable."""
        stopped = EngineUnreachable("the speech engine was stopped: start it again")
        while self._submitted:
            self._handover.answer(self._submitted.popleft().outlet, stopped)
        self._end_all(stopped)

    def _end_all(self, error: SynthesisError) -> None:
        for job in self._jobs.values():  # first of all: a device that is lost may not let its slots be freed
            self._handover.finish(job.outlet, error)
        self._handover.flush()
        for job in [*self._jobs.values()]:
            self._release(job)

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
        """Give the job a slot; why not, if not."""
        promised = sum(map(self._pages_to_come, self._jobs.values()))
        if self._pages_to_come(job) > self._slots.free_pages - promised:
            return EngineBusy("the cache of the speech engine is full: try later or raise cache_tokens_per_slot")
        if not self._scheduler.admit(job.row):
            return EngineBusy(f"all {self._slots.count} slots of the speech engine are taken: try again later")
        self._jobs[job.row] = job
        return None

    def _pages_to_come(self, job: Job) -> int:
        """Cache pages that the job is still expected to take."""
        frames = max(0, job.expected_frames - job.row.frames)
        if not job.row.is_prefilled:
            return self._slots.pages_for(job.voice, len(job.text_ids), frames)
        tokens, page = self._slots.tokens(job.row.slot), self._slots.cache.page_tokens
        return -(-(tokens + frames) // page) - -(-tokens // page)

    def _prefill(self, jobs: Sequence[Job]) -> None:
        starts = [Start(job.row.slot, job.voice, job.text_ids, seed=job.seed, guidance=self._guidance) for job in jobs]
        try:
            self._slots.start(starts)
        except (CacheFull, torch.OutOfMemoryError):
            for job in jobs:
                self._slots.free(job.row.slot)  # what a failed start may have taken
            if len(jobs) == 1:
                logger.warning("no memory to begin an utterance of %d tokens", len(jobs[0].text_ids))
                self._end(jobs[0], EngineBusy("the speech engine is out of memory: try again later"))
                return
            for job in jobs:  # together they do not fit: those that do alone shall speak
                self._prefill([job])
            return
        self.counters.prefills += 1
        self.counters.prompts += len(jobs)
        for job in jobs:
            job.row.is_prefilled = True

    def _speak(self, jobs: Sequence[Job]) -> None:
        jobs = [job for job in jobs if self._reserve(job)]
        if not jobs:
            return
        size = max(len(jobs), *(job.batch_size for job in jobs))
        program = next(program for program in self.programs if program.batch.size >= size)
        self.counters.frame_steps += 1
        live = list(jobs)
        for job in jobs:
            job.batch_size = program.batch.size
        program.batch.select([job.row.slot for job in jobs])
        program.begin()
        for euler in program.euler:
            live = [job for job in live if job.row.is_live]
            if not live:
                break
            for job in live:
                job.euler_steps += 1
            self.counters.euler_steps += 1
            euler()
        live = [job for job in live if job.row.is_live]
        self.counters.frames_dropped += len(jobs) - len(live)
        if not live:
            return
        program.batch.keep([job.row.slot for job in live])
        program.decode()
        wait = program.fetch()
        program.advance()  # the device works on while the host hands over
        wait()
        self._deliver(program, {job.row.slot: row for row, job in enumerate(jobs)}, live)

    def _reserve(self, job: Job) -> bool:
        """Whether the job can go on: it has a place in the cache for its next frame."""
        try:
            self._slots.reserve(job.row.slot)
        except CacheFull:
            logger.warning("no room in the cache after %d frames of an utterance", job.row.frames)
            self._end(job, EngineBusy("the cache of the speech engine is full: raise cache_tokens_per_slot"))
            return False
        return True

    def _deliver(self, program: FrameProgram, rows: dict[int, int], jobs: Sequence[Job]) -> None:
        now_s = self._clock()
        samples, ended, finite = program.samples.numpy(), program.ended.numpy(), program.finite.numpy()
        for job in jobs:
            row = rows[job.row.slot]
            if not finite[row]:
                logger.error("an utterance became not-a-number after %d frames", job.row.frames)
                self._end(job, SynthesisError("the speech became not-a-number: say it again"))
            elif ended[row]:
                self._finish(job)
            else:
                self._scheduler.committed(job.row, now_s)
                self.counters.frames += 1
                self._handover.send(job.outlet, job.cutter.add(samples[row]))
                if job.row.frames >= job.most_frames:
                    logger.warning("an utterance was cut after %d frames", job.row.frames)
                    self._finish(job)

    def _finish(self, job: Job) -> None:
        """The whole text is spoken."""
        if not job.row.frames:
            self._end(job, SynthesisError("the model had nothing to say: give it other words"))
            return
        self.rate.learn(job.characters, job.row.frames)
        self._handover.send(job.outlet, job.cutter.last())
        self._end(job)

    def _end(self, job: Job, error: Exception | None = None) -> None:
        """Finish the job's outlet and free its slot and pages."""
        self._handover.finish(job.outlet, error)
        self._release(job)

    def _release(self, job: Job) -> None:
        del self._jobs[job.row]
        self._slots.free(job.row.slot)
        self._scheduler.release(job.row)
