"""The frame step of one batch size, captured where there is a GPU, and the way of its results to the host."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from llm.runtime.loop.graphs import GraphPool
from llm.runtime.loop.transfer import on_host
from tts.voxtral.frame_step import FrameBatch
from tts.voxtral.slots import SpeechSlots


@dataclass(frozen=True, slots=True)
class FrameProgram:
    """A batch and its parts, captured where there is a GPU, and where its results arrive on the host."""

    batch: FrameBatch
    begin: Callable[[], None]
    euler: Sequence[Callable[[], None]]
    decode: Callable[[], None]
    advance: Callable[[], None]
    samples: torch.Tensor
    ended: torch.Tensor
    finite: torch.Tensor

    @classmethod
    def of(cls, slots: SpeechSlots, size: int, pool: GraphPool) -> "FrameProgram":
        """Capture the program for up to `size` rows, all of them idle."""
        batch = FrameBatch(slots, size)
        batch.select([])
        batch.keep([])
        steps = range(slots.model.config.flow.euler_steps)

        return cls(
            batch=batch,
            begin=pool.capture(batch.begin),
            euler=[pool.capture(lambda step=step: batch.euler(step)) for step in steps],
            decode=pool.capture(batch.decode),
            advance=pool.capture(batch.advance),
            samples=on_host(batch.samples),
            ended=on_host(batch.ended),
            finite=on_host(batch.finite),
        )

    def fetch(self) -> Callable[[], None]:
        """Start the transfer of the decoded frame; the function returned waits for it."""
        if self.samples is self.batch.samples:
            return lambda: None
        for host, device in (
            (self.samples, self.batch.samples),
            (self.ended, self.batch.ended),
            (self.finite, self.batch.finite),
        ):
            host.copy_(device, non_blocking=True)
        arrived = torch.cuda.Event()
        arrived.record()
        return arrived.synchronize
