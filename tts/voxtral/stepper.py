"""The speech engine on the step loop's thread: prefills, and synthesizes one frame at a time for all utterances.

Between Euler steps it reads the flags of the requests. One that was held or cancelled drops out of the frame, which
commits nothing of it; when all have, the frame ends there. The rows left are computed as if nothing had happened, to
the bit: sums depend on the shape of a batch, so an utterance is never moved to a smaller one, now or later.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from llm.runtime.cache import CacheFull
from llm.runtime.loop.captured_step import CapturedStep, CapturedSteps
from llm.runtime.loop.outlet import Outlets
from llm.runtime.loop.plan import Decode, Prefill
from llm.runtime.loop.stepper import RequestStepper
from tts.chunks import SpeakingRate
from tts.interface import EngineBusy, SynthesisError
from tts.voxtral.frame_step import FrameBatch
from tts.voxtral.model import VoxtralTTS
from tts.voxtral.scheduler import plan
from tts.voxtral.slots import SpeechSlots, Start
from tts.voxtral.utterance import ERRORS, UtteranceRequest

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class SpeechCounters:
    """What the stepper has done since it was made."""

    prefills: int = 0
    prompts: int = 0
    frame_steps: int = 0
    frames: int = 0  # of rows, committed
    frames_dropped: int = 0  # of rows, begun and not committed
    euler_steps: int = 0  # of batches


class SpeechStepper(RequestStepper[UtteranceRequest, SpeechSlots]):
    """Serves utterances; see RequestStepper.

    Args:
        slots: the state of all utterances.
        outlets: the way to the listeners.
        batches: sizes of the frame step; rows are padded up to the next.
        prefill_tokens: text tokens read in one step.
        guidance: classifier-free guidance of every utterance.
        clock: seconds, as those in which the requests say when they were submitted.

    Attributes:
        counters: what was done.
        rate: how fast the voices speak, learned from whole utterances.
        steps: the frame step for each batch size.
    """

    errors = ERRORS

    def __init__(
        self,
        slots: SpeechSlots,
        outlets: Outlets,
        *,
        batches: Sequence[int],
        prefill_tokens: int,
        guidance: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(slots, outlets)
        self.counters = SpeechCounters()
        self.rate = SpeakingRate()
        self._prefill_tokens = prefill_tokens
        self._guidance = guidance
        self._clock = clock
        self.steps = CapturedSteps(batches, lambda size: FrameBatch(slots, size), slots.device)

    @property
    def model(self) -> VoxtralTTS:
        """What speaks."""
        return self._slots.model

    def _open(self, request: UtteranceRequest) -> Exception | None:
        """Only look for room in the cache: `_prefill` takes it."""
        promised = sum(map(self._pages_needed, self._requests.values()))
        if promised + self._pages_needed(request) > self._slots.free_pages:
            return self.errors.cache_full()
        return None

    def _pages_needed(self, request: UtteranceRequest) -> int:
        """Cache pages that the request is still expected to take."""
        frames = max(0, request.expected_frames - request.frames)
        if not request.is_prefilled:
            return self._slots.pages_for(request.voice, len(request.text_ids), frames)
        tokens, page = self._slots.tokens(request.slot), self._slots.cache.page_tokens
        return -(-(tokens + frames) // page) - -(-tokens // page)

    def _serve(self, requests: Sequence[UtteranceRequest]) -> None:
        step = plan(requests, largest_batch=self.steps.largest, prefill_tokens=self._prefill_tokens)
        if isinstance(step, Prefill):
            self._prefill([request for request, _ in step.parts])
        elif isinstance(step, Decode):
            self._synthesize(step.requests)

    def _prefill(self, requests: Sequence[UtteranceRequest]) -> None:
        try:
            self._slots.start(
                [
                    Start(request.slot, request.voice, request.text_ids, seed=request.seed, guidance=self._guidance)
                    for request in requests
                ]
            )
        except (CacheFull, torch.OutOfMemoryError):
            for request in requests:
                self._slots.free(request.slot)  # what a failed start may have taken
            if len(requests) == 1:
                _log.warning("no memory to begin an utterance of %d tokens", len(requests[0].text_ids))
                self._end(requests[0], EngineBusy("the speech engine is out of memory: try again later"))
                return
            for request in requests:  # together they do not fit: those that do alone shall speak
                self._prefill([request])
            return
        self.counters.prefills += 1
        self.counters.prompts += len(requests)
        for request in requests:
            request.is_prefilled = True

    def _synthesize(self, requests: Sequence[UtteranceRequest]) -> None:
        requests = [request for request in requests if self._reserve(request)]
        if not requests:
            return
        step = self.steps.of(max(len(requests), *(request.batch_size for request in requests)))
        begin, *euler_steps, decode, advance = step.parts
        self.counters.frame_steps += 1
        for request in requests:
            request.batch_size = step.batch.size
        step.batch.select([request.slot for request in requests])
        begin()
        live = self._run_euler_steps(euler_steps, requests)
        self.counters.frames_dropped += len(requests) - len(live)
        if not live:
            return
        step.batch.commit([request.slot for request in live])
        decode()
        wait = step.fetch()
        advance()  # the device works on while the host delivers
        wait()
        self._deliver(step, {request.slot: row for row, request in enumerate(requests)}, live)

    def _run_euler_steps(
        self, euler_steps: Sequence[Callable[[], None]], requests: Sequence[UtteranceRequest]
    ) -> Sequence[UtteranceRequest]:
        """Those that still want the frame at its end."""
        live = requests
        for euler_step in euler_steps:
            live = [request for request in live if request.is_live]
            if not live:
                return live
            for request in live:
                request.euler_steps += 1
            self.counters.euler_steps += 1
            euler_step()
        return [request for request in live if request.is_live]

    def _deliver(
        self, step: CapturedStep[FrameBatch], rows: dict[int, int], requests: Sequence[UtteranceRequest]
    ) -> None:
        now_s, frame_s = self._clock(), self.model.config.codec.frame_s
        samples, ended, finite = (result.numpy() for result in step.results)
        for request in requests:
            row = rows[request.slot]
            if not finite[row]:
                _log.error("an utterance became NaN after %d frames", request.frames)
                self._end(request, self.errors.became_nan())
            elif ended[row]:
                self._finish(request)
            else:
                request.commit_frame(now_s, frame_s)
                self.counters.frames += 1
                self._outlets.send(request.outlet, request.cutter.add(samples[row]))
                if request.frames >= request.max_frames:
                    _log.warning("an utterance was cut after %d frames", request.frames)
                    self._finish(request)

    def _finish(self, request: UtteranceRequest) -> None:
        """The whole text is spoken."""
        if not request.frames:
            self._end(request, SynthesisError("the model had nothing to say: give it other words"))
            return
        self.rate.learn(request.characters, request.frames)
        self._outlets.send(request.outlet, request.cutter.last())
        self._end(request)

    def _close(self, request: UtteranceRequest) -> None:
        self._slots.free(request.slot)
