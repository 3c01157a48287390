"""The batched token step over static buffers: run each selected slot's newest token, draw the next.

    load (host) -> run -> result

`run` does not synchronise with the host and has fixed shapes, so that it can be captured once and replayed. `load` of
the next step must wait for this one's end.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from llm.ministral.sampling import sample
from llm.ministral.slots import DRAWN, ReplySlots
from llm.runtime.backend import StepTokens
from llm.runtime.loop.graphs import GraphPool
from llm.runtime.loop.transfer import SlotList, on_host

FAILED = -1  # in place of a token: the row's numbers were not finite


class TokenBatch:
    """Buffers for steps of up to `size` slots. Rows stand in the order given to `load`.

    Attributes:
        result: [B] int64, the token drawn for each row; FAILED where there is none.
    """

    def __init__(self, slots: ReplySlots, size: int) -> None:
        device = slots.device
        self.size = size
        self.slots = slots
        self._selected = SlotList(size, slots.count, device)
        self.result = torch.zeros(size, dtype=torch.int64, device=device)

    def load(self, slots: Sequence[int]) -> None:
        """Host: the next step is of these slots, each ready and reserved."""
        self._selected.set(slots)

    @torch.inference_mode()
    def run(self) -> None:
        """Draw the next token of every row and move the slots on."""
        slots, index, decoder = self.slots, self._selected.index, self.slots.model.decoder
        positions = slots.positions[index]  # [B]
        embedded = decoder.embed(slots.tokens[index])  # [B, D]
        hidden = decoder.step(embedded, StepTokens(index, positions, slots.cache, slots.attention_backend))
        logits = decoder.logits(hidden)  # [B, V]
        temperature = slots.temperatures[index]
        if slots.device.type == "cpu" and not temperature.any():
            token = logits.argmax(dim=1)  # drawing is slow there; where steps are captured, they cannot choose
        else:
            uniform = slots.uniforms[index, positions % DRAWN]
            token = sample(logits, temperature, slots.top_ps[index], uniform)
        slots.tokens.index_copy_(0, index, token)
        slots.positions.index_add_(0, index, torch.ones_like(index))
        slots.positions[slots.count].fill_(0)  # the idle slot goes nowhere; `= 0` would copy from the host and wait
        self.result.copy_(token.where(logits.isfinite().all(dim=1), FAILED))


@dataclass(frozen=True, slots=True)
class TokenProgram:
    """A batch, its work captured where there is a GPU, and where its tokens arrive."""

    batch: TokenBatch
    work: Callable[[], None]
    tokens: torch.Tensor  # [size] int64, on the host

    @classmethod
    def of(cls, slots: ReplySlots, size: int, pool: GraphPool) -> "TokenProgram":
        """Capture the program for up to `size` rows, all of them idle."""
        batch = TokenBatch(slots, size)
        return cls(batch, pool.capture(batch.run), on_host(batch.result))

    def step(self, slots: Sequence[int]) -> list[int]:
        """One step of these slots, each ready and reserved: their tokens."""
        self.batch.load(slots)
        self.work()
        if self.tokens is not self.batch.result:
            self.tokens.copy_(self.batch.result, non_blocking=True)
            torch.cuda.current_stream(self.batch.slots.device).synchronize()
        return [int(token) for token in self.tokens.numpy()[: len(slots)]]
