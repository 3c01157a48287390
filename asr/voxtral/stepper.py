"""The recognition engine on the step loop's thread: admits streams and steps all that have a block of audio.

A stream holds a slot for as long as it is connected, and the slot holds state only from a turn's first block to its
end: the next turn begins afresh from the shared start.
"""

import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from asr.interface import EngineBusy, EngineUnreachable, RecognitionError
from asr.voxtral.audio_step import FAILED, BlankPenalty
from asr.voxtral.blocks import Block, TurnEnd, replayed
from asr.voxtral.captured_step import StepProgram
from asr.voxtral.slots import ListeningSlots
from asr.voxtral.stream import Stream
from asr.voxtral.timing import STEP_SAMPLES
from asr.voxtral.turn_text import TurnText
from llm.runtime.cache import CacheFull
from llm.runtime.loop.graphs import GraphPool, for_sizes
from llm.runtime.loop.outlet import Handover
from llm.runtime.loop.step_loop import Steppable

logger = logging.getLogger(__name__)

AT_ONCE = float("-inf")


@dataclass(slots=True)
class Counters:
    """What the stepper has done since it was made."""

    steps: int = 0  # of batches
    blocks: int = 0  # of streams
    turns: int = 0
    restarts: int = 0  # of turns whose stream had written nothing for long


class ListeningStepper(Steppable):
    """Serves the streams submitted. Made and stepped by the step loop's thread; `submit` comes from any.

    Args:
        slots: the state of all streams.
        handover: the way to the listeners.
        batches: sizes of the step; rows are padded up to the next. The largest has room for every slot.
        penalty: on long runs of blanks.
        restart_after: steps without a word after which a turn's stream begins afresh; the way out of the rut in which
            the model hears nothing any more after a long silence (vLLM issue 47614).
    """

    def __init__(
        self,
        slots: ListeningSlots,
        handover: Handover,
        *,
        batches: Sequence[int],
        penalty: BlankPenalty | None,
        restart_after: int,
    ) -> None:
        assert max(batches) >= slots.count
        self.counters = Counters()
        self._slots = slots
        self._handover = handover
        self._restart_after = restart_after
        self._markers = slots.model.markers
        self._submitted: deque[Stream] = deque()
        self._streams: dict[int, Stream] = {}  # by slot
        self._free = list(reversed(range(slots.count)))
        pool = GraphPool(slots.device)
        self._programs = for_sizes(batches, lambda size: StepProgram.of(slots, size, penalty, pool))

    def submit(self, stream: Stream) -> None:
        """Let the next step admit or refuse it."""
        self._submitted.append(stream)

    def warm(self, delay: int) -> None:
        """Make the start of streams with that delay, in steps, before the first of them comes."""
        self._warm(delay, self._free[-1])

    def next_deadline(self) -> float | None:
        """See Steppable."""
        if self._submitted:
            return AT_ONCE
        earliest: float | None = None
        for stream in self._streams.values():
            due_s = AT_ONCE if stream.is_gone else stream.due_s
            if due_s is not None and (earliest is None or due_s < earliest):
                earliest = due_s
        return earliest

    def step(self) -> None:
        """See Steppable."""
        try:
            self._settle()
            ready = [stream for stream in self._streams.values() if stream.due_s is not None]
            for stream in ready:
                if isinstance(stream.items[0], TurnEnd):
                    self._end_turn(stream)
            self._hear([stream for stream in ready if stream.due_s is not None and isinstance(stream.items[0], Block)])
        finally:
            self._handover.flush()

    def fail(self, error: Exception) -> None:
        """See Steppable."""
        self._end_all(RecognitionError(f"the recognition engine failed ({error}): open the stream again"))

    def stop(self) -> None:
        """See Steppable."""
        stopped = EngineUnreachable("the recognition engine was stopped: start it again")
        while self._submitted:
            self._handover.answer(self._submitted.popleft().outlet, stopped)
        self._end_all(stopped)

    def _end_all(self, error: RecognitionError) -> None:
        for stream in self._streams.values():  # first of all: a device that is lost may not let its slots be freed
            self._handover.finish(stream.outlet, error)
        self._handover.flush()
        for stream in [*self._streams.values()]:
            self._release(stream)

    def _settle(self) -> None:
        """Free the slots of streams that are gone, then admit new ones."""
        arrived = len(self._submitted)  # counted before the flags are read: a slot given up for one of these is seen
        for stream in [stream for stream in self._streams.values() if stream.is_gone]:
            self._end(stream)
        for _ in range(arrived):
            stream = self._submitted.popleft()
            if stream.is_gone:
                continue
            if not self._free:
                count = self._slots.count
                busy = EngineBusy(f"all {count} streams of the recognition engine are taken: wait")
                self._handover.answer(stream.outlet, busy)
                continue
            stream.slot = self._free.pop()
            self._streams[stream.slot] = stream
            self._handover.answer(stream.outlet)

    def _hear(self, streams: Sequence[Stream]) -> None:
        rows = [
            (stream, block)
            for stream in streams
            if self._prepare(stream) and isinstance(block := stream.items.popleft(), Block)
        ]
        if not rows:
            return
        program = next(program for program in self._programs if program.batch.size >= len(rows))
        tokens = program.step([stream.slot for stream, _ in rows], [block.samples for _, block in rows])
        self.counters.steps += 1
        self.counters.blocks += len(rows)
        for (stream, block), token in zip(rows, tokens, strict=True):
            self._write(stream, block, token)

    def _prepare(self, stream: Stream) -> bool:
        """Whether the stream can step: it has state, and places in the caches."""
        try:
            if stream.text is None:
                self._begin_turn(stream)
            self._slots.reserve(stream.slot)
        except (CacheFull, torch.OutOfMemoryError):
            logger.warning("no room in the cache for %d streams", len(self._streams))
            self._end(stream, EngineBusy("the cache of the recognition engine is full: raise context_s"))
            return False
        return True

    def _begin_turn(self, stream: Stream) -> None:
        self._warm(stream.delay, stream.slot)
        self._slots.start(stream.slot, stream.delay)
        block = stream.items[0]
        assert isinstance(block, Block)
        stream.text = TurnText(block.at_samples + STEP_SAMPLES)
        stream.blanks = 0

    def _warm(self, delay: int, slot: int) -> None:
        silence = torch.zeros(STEP_SAMPLES).numpy()
        self._slots.warm(delay, slot, lambda: self._programs[0].step([slot], [silence]))

    def _write(self, stream: Stream, block: Block, token: int) -> None:
        assert stream.text is not None
        if token == FAILED:
            logger.error("a stream became not-a-number")
            self._end(stream, RecognitionError("the recognition became not-a-number: open the stream again"))
            return
        stream.recent.append(block)
        stream.blanks = stream.blanks + 1 if token == self._markers.blank else 0
        if token == self._markers.word:
            stream.text.separate()
        word_end = block.at_samples - (stream.delay + 1) * STEP_SAMPLES  # about 0.1 s early or late
        has_grown = stream.text.add(self._slots.model.bytes_of(token), min(word_end, block.pushed_samples))
        if stream.items and isinstance(stream.items[0], TurnEnd):
            self._end_turn(stream)
            return
        if has_grown:
            heard = min(block.at_samples + STEP_SAMPLES, block.pushed_samples)
            self._handover.send(stream.outlet, stream.text.transcript(heard, is_final=False))
        if stream.blanks >= self._restart_after:
            self._restart(stream)

    def _end_turn(self, stream: Stream) -> None:
        end = stream.items.popleft()
        assert isinstance(end, TurnEnd)
        text = stream.text or TurnText(end.start_samples)
        self._handover.send(stream.outlet, text.transcript(end.end_samples, is_final=True))
        self._forget_turn(stream)
        self.counters.turns += 1

    def _restart(self, stream: Stream) -> None:
        """Begin the stream afresh inside its turn, and hear the newest audio again."""
        logger.info("a stream wrote nothing for %d steps and begins afresh", stream.blanks)
        self.counters.restarts += 1
        self._slots.free(stream.slot)
        self._slots.start(stream.slot, stream.delay)
        stream.items.extendleft(reversed(replayed(list(stream.recent))))
        stream.recent.clear()
        stream.blanks = 0

    def _forget_turn(self, stream: Stream) -> None:
        self._slots.free(stream.slot)
        stream.text = None
        stream.recent.clear()

    def _end(self, stream: Stream, error: Exception | None = None) -> None:
        """Finish the stream's outlet and free its slot and pages."""
        self._handover.finish(stream.outlet, error)
        self._release(stream)

    def _release(self, stream: Stream) -> None:
        del self._streams[stream.slot]
        self._forget_turn(stream)
        self._free.append(stream.slot)
        stream.items.clear()
