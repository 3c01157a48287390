"""The recognition engine's stepper driven by hand, and one turn stepped by itself."""

import asyncio
from collections import deque

import numpy as np
from numpy.typing import NDArray

from asr.interface import (
    Transcript,
)
from asr.voxtral.audio_step import AudioBatch
from asr.voxtral.blocks import AudioBlock, BlockCutter
from asr.voxtral.model import VoxtralRealtime
from asr.voxtral.slots import ListeningSlots
from asr.voxtral.stepper import ListeningStepper
from asr.voxtral.stream import ListeningRequest
from asr.voxtral.timing import STEP_SAMPLES
from asr.voxtral.turn_text import TurnText
from llm.runtime.loop.outlet import Outlet, Outlets

Samples = NDArray[np.float32]
DELAY = 6


def alone(model: VoxtralRealtime, samples: Samples, delay: int = DELAY) -> tuple[str, list[int]]:
    """Text and tokens of one whole turn, stepped by hand."""
    slots = ListeningSlots(model, count=1, tokens_per_slot=len(samples) // STEP_SAMPLES + 100)
    batch = AudioBatch(slots, 1)

    def step(block: Samples) -> int:
        batch.load([0], [block])
        batch.run()
        return int(batch.result[0])

    slots.warm(delay, 0, lambda: step(np.zeros(STEP_SAMPLES, np.float32)))
    slots.start(0, delay)
    cutter = BlockCutter(delay)
    text, tokens = TurnText(0), []
    for item in [*cutter.push(samples, 0.0), *cutter.flush(0.0)]:
        if isinstance(item, AudioBlock):
            slots.reserve(0)
            tokens.append(step(item.samples))
            text.add(model.bytes_of(tokens[-1]), item.at_samples)
    return text.transcript(len(samples), is_final=True).text, tokens


class Bench:
    """A stepper driven by hand; nothing but the test moves it or the time."""

    def __init__(
        self,
        model: VoxtralRealtime,
        streams: int,
        restart_after: int = 10**9,
        replay: int = 4,
        page_tokens: int | None = None,
    ) -> None:
        self.slots = ListeningSlots(model, count=streams, tokens_per_slot=200, page_tokens=page_tokens)
        self.stepper = ListeningStepper(
            self.slots,
            Outlets(asyncio.get_running_loop()),
            batches=(1, streams),
            penalty=None,
            restart_after=restart_after,
        )
        self.stepper.warm(DELAY)
        self.free = self.pages()
        self._replay = replay

    def pages(self) -> tuple[int, int]:
        return self.slots.encoder_cache.free_pages, self.slots.decoder_cache.free_pages

    def open(self) -> tuple[ListeningRequest, BlockCutter]:
        stream = ListeningRequest(
            delay=DELAY,
            outlet=Outlet[Transcript](1000, on_taken=lambda: None),
            recent=deque(maxlen=self._replay),
        )
        self.stepper.submit(stream)
        self.settle()
        return stream, BlockCutter(DELAY)

    def settle(self) -> int:
        """Step until there is nothing to do: how many steps that took."""
        before = self.stepper.counters.steps
        while self.stepper.next_deadline() is not None:
            self.stepper.step()
        return self.stepper.counters.steps - before
