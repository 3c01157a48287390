"""The step of one batch size, captured where there is a GPU, and the way of its tokens to the host."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from asr.voxtral.audio_step import BlankPenalty, StepBatch
from asr.voxtral.slots import ListeningSlots
from llm.runtime.loop.graphs import GraphPool
from llm.runtime.loop.transfer import on_host


@dataclass(frozen=True, slots=True)
class StepProgram:
    """A batch, its work, and where its tokens arrive."""

    batch: StepBatch
    work: Callable[[], None]
    tokens: torch.Tensor  # [size] int64, on the host

    @classmethod
    def of(cls, slots: ListeningSlots, size: int, penalty: BlankPenalty | None, pool: GraphPool) -> "StepProgram":
        """Capture the program for up to `size` rows, all of them idle."""
        batch = StepBatch(slots, size, penalty)
        return cls(batch, pool.capture(batch.run), on_host(batch.result))

    def step(self, slots: Sequence[int], samples: Sequence[NDArray[np.float32]]) -> list[int]:
        """One step of these slots, each reserved, on STEP_SAMPLES new samples each: their tokens."""
        self.batch.load(slots, samples)
        self.work()
        if self.tokens is not self.batch.result:
            self.tokens.copy_(self.batch.result, non_blocking=True)
            torch.cuda.current_stream(self.batch.slots.device).synchronize()
        return [int(token) for token in self.tokens.numpy()[: len(slots)]]
