"""The recognition engine on the step loop's thread: steps all streams that have a block of audio.

A stream holds a slot for as long as it is connected, and the slot holds state only from a turn's first block to its
end: the next turn begins from the shared start again.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from asr.voxtral.audio_step import FAILED, AudioBatch, BlankPenalty, hear
from asr.voxtral.blocks import AudioBlock, TurnEnd, lead_with_silence
from asr.voxtral.slots import ListeningSlots
from asr.voxtral.stream import ERRORS, ListeningRequest
from asr.voxtral.timing import STEP_SAMPLES
from asr.voxtral.turn_text import TurnText
from llm.runtime.cache import CacheFull
from llm.runtime.loop.captured_step import CapturedSteps
from llm.runtime.loop.outlet import Outlets
from llm.runtime.loop.stepper import RequestStepper

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class ListeningCounters:
    """What the stepper has done since it was made."""

    steps: int = 0  # of batches
    blocks: int = 0  # of streams
    turns: int = 0
    restarts: int = 0  # of turns whose stream had written nothing for long


class ListeningStepper(RequestStepper[ListeningRequest, ListeningSlots]):
    """Serves streams; see RequestStepper.

    Args:
        slots: the state of all streams.
        outlets: the way to the listeners.
        batches: sizes of the step; rows are padded up to the next. The largest has room for every slot.
        penalty: on long runs of blanks.
        restart_after: steps without a word after which a turn's stream is restarted; the way out of the rut in which
            the model hears nothing any more after a long silence (vLLM issue 47614).
    """

    errors = ERRORS

    def __init__(
        self,
        slots: ListeningSlots,
        outlets: Outlets,
        *,
        batches: Sequence[int],
        penalty: BlankPenalty | None,
        restart_after: int,
    ) -> None:
        super().__init__(slots, outlets)
        self.counters = ListeningCounters()
        self._restart_after = restart_after
        self._special_tokens = slots.model.special_tokens
        self._steps = CapturedSteps(batches, lambda size: AudioBatch(slots, size, penalty), slots.device)
        assert self._steps.largest >= slots.count

    def warm(self, delay: int) -> None:
        """Make the start of streams with that delay, in steps, before the first of them comes."""
        self._warm(delay, self._free[-1])

    def _open(self, request: ListeningRequest) -> Exception | None:
        """A slot alone holds nothing: see `_begin_turn`."""

    def _serve(self, requests: Sequence[ListeningRequest]) -> None:
        ready = [request for request in requests if request.due_s is not None]
        for request in ready:
            if isinstance(request.items[0], TurnEnd):
                self._end_turn(request)
        self._hear([r for r in ready if r.due_s is not None and isinstance(r.items[0], AudioBlock)])

    def _hear(self, requests: Sequence[ListeningRequest]) -> None:
        rows = [
            (request, block)
            for request in requests
            if self._prepare(request) and isinstance(block := request.items.popleft(), AudioBlock)
        ]
        if not rows:
            return
        step = self._steps.of(len(rows))
        tokens = hear(step, [request.slot for request, _ in rows], [block.samples for _, block in rows])
        self.counters.steps += 1
        self.counters.blocks += len(rows)
        for (request, block), token in zip(rows, tokens, strict=True):
            self._write(request, block, token)

    def _prepare(self, request: ListeningRequest) -> bool:
        """Whether the stream can step: its turn has begun, and there is a place in the cache."""
        if request.text is None:
            try:
                self._begin_turn(request)
            except (CacheFull, torch.OutOfMemoryError):
                _log.warning("no room in the cache for a turn beside %d streams", len(self._requests))
                self._end(request, self.errors.cache_full())
                return False
        return self._reserve(request)

    def _begin_turn(self, request: ListeningRequest) -> None:
        self._warm(request.delay, request.slot)
        self._slots.start(request.slot, request.delay)
        block = request.items[0]
        assert isinstance(block, AudioBlock)
        request.text = TurnText(block.at_samples + STEP_SAMPLES)
        request.blanks = 0

    def _warm(self, delay: int, slot: int) -> None:
        silence = torch.zeros(STEP_SAMPLES).numpy()
        self._slots.warm(delay, slot, lambda: hear(self._steps.of(1), [slot], [silence]))

    def _write(self, request: ListeningRequest, block: AudioBlock, token: int) -> None:
        assert request.text is not None
        if token == FAILED:
            _log.error("a stream became NaN")
            self._end(request, self.errors.became_nan())
            return
        request.recent.append(block)
        request.blanks = request.blanks + 1 if token == self._special_tokens.blank else 0
        if token == self._special_tokens.word:
            request.text.separate()
        word_end = block.at_samples - (request.delay + 1) * STEP_SAMPLES  # about 0.1 s early or late
        has_grown = request.text.add(self._slots.model.bytes_of(token), min(word_end, block.pushed_samples))
        if request.items and isinstance(request.items[0], TurnEnd):
            self._end_turn(request)
            return
        if has_grown:
            heard = min(block.at_samples + STEP_SAMPLES, block.pushed_samples)
            self._outlets.send(request.outlet, request.text.transcript(heard, is_final=False))
        if request.blanks >= self._restart_after:
            self._restart(request)

    def _end_turn(self, request: ListeningRequest) -> None:
        end = request.items.popleft()
        assert isinstance(end, TurnEnd)
        text = request.text or TurnText(end.start_samples)
        self._outlets.send(request.outlet, text.transcript(end.end_samples, is_final=True))
        self._forget_turn(request)
        self.counters.turns += 1

    def _restart(self, request: ListeningRequest) -> None:
        """Begin the stream again inside its turn, and hear the newest audio a second time."""
        _log.info("a stream wrote nothing for %d steps and is restarted", request.blanks)
        self.counters.restarts += 1
        self._slots.free(request.slot)
        self._slots.start(request.slot, request.delay)
        request.items.extendleft(reversed(lead_with_silence(list(request.recent))))
        request.recent.clear()
        request.blanks = 0

    def _forget_turn(self, request: ListeningRequest) -> None:
        self._slots.free(request.slot)
        request.text = None
        request.recent.clear()

    def _close(self, request: ListeningRequest) -> None:
        self._forget_turn(request)
        request.items.clear()
