"""Our recognition engine: Voxtral Realtime for many calls at once on one device, behind the interface of any."""

import asyncio
import logging
import time
from collections import deque
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

import torch

from asr.config import VoxtralRealtimeConfig
from asr.interface import EngineUnreachable, Recognition, Transcript
from asr.slots import ListeningSlots
from asr.stepper import Counters, ListeningStepper
from asr.steps import BlankPenalty
from asr.stream import Stream, VoxtralRecognition
from asr.timing import START, STEP_MS, steps_of
from asr.voxtral import VoxtralRealtime
from llm.graphs import buckets
from llm.handover import Handover, Outlet
from llm.steploop import StepLoop

logger = logging.getLogger(__name__)


class VoxtralRecognizer:
    """Voxtral Realtime on a step loop, which it may share with other engines. Use as `async with`."""

    def __init__(self, config: VoxtralRealtimeConfig, loop: StepLoop, model: VoxtralRealtime | None = None) -> None:
        """Nothing is loaded before the context is entered; a `model` given is used in place of the checkpoint's."""
        self._config = config
        self._loop = loop
        self._model = model
        self._stepper: ListeningStepper | None = None
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Load the checkpoint, reserve the caches and capture the graphs, on the loop's thread.

        Raises:
            CheckpointError: the checkpoint is missing, incomplete, does not fit its configuration or the memory.
            EngineUnreachable: there is no such device.
        """
        handover = Handover(asyncio.get_running_loop())
        async with AsyncExitStack() as stack:
            stepper = await self._loop.run(lambda: self._prepare(handover))
            await self._loop.attach(stepper)
            stack.push_async_callback(self._stop, stepper)
            self._stack = stack.pop_all()
        self._stepper = stepper
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stepper = None
        await self._stack.aclose()

    @property
    def counters(self) -> Counters:
        """What the engine has done since it was started."""
        return self._running.counters

    def listen(self, *, language: str | None = None, delay_ms: int | None = None) -> Recognition:
        """A new stream; see `asr.interface.Recognizer`.

        Args:
            language: for the log only. The model hears which of its 13 languages is spoken and cannot be told.
            delay_ms: how far the text is behind the audio, a multiple of 80 up to 2400; by default the configured one.

        Raises:
            EngineUnreachable: the engine is not running.
            ValueError: no such delay.
        """
        config = self._config
        delay = steps_of(config.delay_ms if delay_ms is None else delay_ms)
        stepper = self._running
        logger.debug("listening for %s with a delay of %d ms", language or "any language", delay * STEP_MS)
        return VoxtralRecognition(
            lambda: self._begin(stepper, delay),
            changed=self._loop.wake,
            backlog=_steps(config.backlog_s),
            stall_s=config.stall_timeout_s,
        )

    @property
    def _running(self) -> ListeningStepper:
        if self._stepper is None:
            raise EngineUnreachable("the recognition engine is not running: enter its context first")
        return self._stepper

    def _begin(self, stepper: ListeningStepper, delay: int) -> Stream:
        """Submit a stream."""
        stream = Stream(
            delay=delay,
            outlet=Outlet[Transcript](self._config.unread_transcripts, on_taken=self._loop.wake),
            admitted=asyncio.get_running_loop().create_future(),
            recent=deque(maxlen=_steps(self._config.replay_s)),
        )
        stepper.submit(stream)
        self._loop.wake()
        return stream

    def _prepare(self, handover: Handover) -> ListeningStepper:
        """On the loop's thread: the model on its device, and what serves it."""
        config = self._config
        device = torch.device(config.device)
        if device.type == "cuda" and not torch.cuda.is_available():
            raise EngineUnreachable(f"no {config.device} device here: choose another engine, or device = cpu (slow)")
        started_s = time.monotonic()
        model = self._model
        if model is None:
            model = VoxtralRealtime.load(config.checkpoint, device=device, dtype=getattr(torch, config.dtype))
        slots = ListeningSlots(model, count=config.streams, tokens_per_slot=START + _steps(config.context_s))
        stepper = ListeningStepper(
            slots,
            handover,
            batches=buckets(config.streams),
            penalty=BlankPenalty() if config.blank_penalty else None,
            restart_after=_steps(config.restart_after_s),
        )
        stepper.warm(steps_of(config.delay_ms))
        logger.info("Voxtral Realtime ready on %s after %.1f s", device, time.monotonic() - started_s)
        return stepper

    async def _stop(self, stepper: ListeningStepper) -> None:
        """End what is still heard and free the device."""
        await self._loop.detach(stepper)
        await self._loop.run(stepper.stop)


def _steps(seconds: float) -> int:
    return max(1, round(seconds * 1000 / STEP_MS))
