"""A caller's audio cut into the blocks that steps hear, with the silence around each turn. Pure, and free of torch.

A step at position p of its stream hears 80 ms and a look-ahead of 2.5 ms, so its block of new samples begins and
ends 2.5 ms late. The first block of a turn is silence but for these; the last ones are silence that drains the delay.
"""

from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from asr.voxtral.timing import EXTRA_PAD, LOOK_AHEAD_SAMPLES, STEP_MS, STEP_SAMPLES

STEP_S = STEP_MS / 1000


@dataclass(frozen=True, slots=True)
class AudioBlock:
    """What one step hears."""

    samples: NDArray[np.float32]  # [STEP_SAMPLES]
    at_samples: int  # where the step's 80 ms begin, in pushed samples; the turn's first block is before its audio
    pushed_samples: int  # when this block was complete
    due_s: float  # when the step should be done


@dataclass(frozen=True, slots=True)
class TurnEnd:
    """All blocks of a turn came before this. Positions are of the turn's audio, in pushed samples."""

    start_samples: int
    end_samples: int
    due_s: float


Item: TypeAlias = AudioBlock | TurnEnd


class BlockCutter:
    """Cuts one stream.

    Args:
        delay: of the stream's model, in steps.
    """

    def __init__(self, delay: int) -> None:
        self._padding = delay + 1 + EXTRA_PAD
        self._pushed = 0
        self._turn_start = 0
        self._steps = 0  # of this turn, cut so far
        self._rest = np.zeros(0, np.float32)

    def push(self, samples: NDArray[np.float32], now_s: float) -> list[Item]:
        """The blocks that these samples complete."""
        if not len(samples):
            return []
        if self._pushed == self._turn_start:
            self._rest = np.zeros(STEP_SAMPLES - LOOK_AHEAD_SAMPLES, np.float32)
        self._pushed += len(samples)
        # a live block may wait until the next one is complete
        return self._cut(np.concatenate((self._rest, samples)), now_s + STEP_S)

    def flush(self, now_s: float) -> list[Item]:
        """What is left of the turn, the silence after it, and its end. The next push begins a new turn."""
        end = TurnEnd(self._turn_start, self._pushed, now_s)
        heard = self._pushed - self._turn_start
        items: list[Item] = []
        if heard:
            steps = 1 + -(-heard // STEP_SAMPLES) + self._padding - self._steps
            whole = np.zeros(steps * STEP_SAMPLES, np.float32)
            whole[: len(self._rest)] = self._rest
            items = self._cut(whole, now_s)
        self._turn_start = self._pushed
        self._steps = 0
        return [*items, end]

    def _cut(self, samples: NDArray[np.float32], due_s: float) -> list[Item]:
        count = len(samples) // STEP_SAMPLES
        self._rest = samples[count * STEP_SAMPLES :]
        first = self._turn_start + (self._steps - 1) * STEP_SAMPLES
        self._steps += count
        return [
            AudioBlock(
                samples[i * STEP_SAMPLES : (i + 1) * STEP_SAMPLES], first + i * STEP_SAMPLES, self._pushed, due_s
            )
            for i in range(count)
        ]


def lead_with_silence(blocks: list[AudioBlock]) -> list[AudioBlock]:
    """Blocks of a turn's middle as a stream hears them that begins with the first: after a block of silence."""
    first = blocks[0]
    silence = np.zeros(STEP_SAMPLES, np.float32)
    return [replace(first, samples=silence, at_samples=first.at_samples - STEP_SAMPLES), *blocks]
