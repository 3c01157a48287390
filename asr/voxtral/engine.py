"""Our recognition engine: Voxtral Realtime for many calls at once on one device, behind the interface of any."""

import logging
import time
from collections import deque
from typing import TYPE_CHECKING

import torch

from asr.interface import Recognition, Transcript
from asr.voxtral.audio_step import BlankPenalty
from asr.voxtral.model import VoxtralRealtime
from asr.voxtral.slots import ListeningSlots
from asr.voxtral.stepper import ListeningCounters, ListeningStepper
from asr.voxtral.stream import ERRORS, ListeningRequest, VoxtralRecognition
from asr.voxtral.timing import START, STEP_MS, steps_of
from llm.runtime.loop.engine import LoopEngine
from llm.runtime.loop.graphs import buckets
from llm.runtime.loop.outlet import Outlet, Outlets
from llm.runtime.loop.step_loop import StepLoop

if TYPE_CHECKING:  # the settings need pydantic, which is not beside every GPU
    from asr.config import VoxtralRealtimeConfig

_log = logging.getLogger(__name__)


class VoxtralRecognizer(LoopEngine[ListeningStepper]):
    """Voxtral Realtime on a step loop, which it may share with other engines. Use as `async with`."""

    errors = ERRORS

    def __init__(self, config: "VoxtralRealtimeConfig", loop: StepLoop, model: VoxtralRealtime | None = None) -> None:
        """Nothing is loaded before the context is entered; a `model` given is used in place of the checkpoint's."""
        super().__init__(loop)
        self._config = config
        self._model = model

    @property
    def counters(self) -> ListeningCounters:
        """What the engine has done since it was started."""
        return self._running.counters

    def listen(self, *, language: str | None = None, delay_ms: int | None = None) -> Recognition:
        """A new stream; see `asr.interface.Recognizer`.

        Args:
            language: for the log only. The model hears which of its 13 languages is spoken and takes no hint.
            delay_ms: how far the text is behind the audio, a multiple of 80 up to 2400; by default the configured one.

        Raises:
            ValueError: no such delay.
        """
        config = self._config
        delay = steps_of(config.delay_ms if delay_ms is None else delay_ms)
        _log.debug("listening for %s with a delay of %d ms", language or "any language", delay * STEP_MS)
        return VoxtralRecognition(
            lambda: self._begin(delay),
            wake=self._loop.wake,
            stall_s=config.stall_timeout_s,
            delay=delay,
            backlog=_steps(config.backlog_s),
        )

    async def _begin(self, delay: int) -> ListeningRequest:
        """Submit a stream."""
        request = ListeningRequest(
            delay=delay,
            outlet=Outlet[Transcript](self._config.unread_transcripts, on_taken=self._loop.wake),
            recent=deque(maxlen=_steps(self._config.replay_s)),
        )
        self._running.submit(request)
        return request

    def _prepare(self, outlets: Outlets) -> ListeningStepper:
        """See LoopEngine."""
        config = self._config
        device = self._open_device(config.device)
        started_s = time.monotonic()
        model = self._model
        if model is None:
            model = VoxtralRealtime.load(config.checkpoint, device=device, dtype=getattr(torch, config.dtype))
        slots = ListeningSlots(model, count=config.streams, tokens_per_slot=START + _steps(config.context_s))
        stepper = ListeningStepper(
            slots,
            outlets,
            batches=buckets(config.streams),
            penalty=BlankPenalty() if config.blank_penalty else None,
            restart_after=_steps(config.restart_after_s),
        )
        stepper.warm(steps_of(config.delay_ms))
        _log.info("Voxtral Realtime ready on %s after %.1f s", device, time.monotonic() - started_s)
        return stepper


def _steps(seconds: float) -> int:
    return max(1, round(seconds * 1000 / STEP_MS))
