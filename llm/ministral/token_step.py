"""The batched token step over static buffers: run each selected slot's newest token, draw the next.

    load (host) -> run -> result

`run` does not synchronize with the host and has fixed shapes, so that it can be captured once and replayed. `load` of
the next step must wait for this one's end.
"""

from collections.abc import Sequence

import torch

from llm.ministral.sampling import sample
from llm.ministral.slots import DRAWN, ReplySlots
from llm.runtime.backend import StepTokens
from llm.runtime.loop.captured_step import CapturedStep
from llm.runtime.loop.transfer import SlotList

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
        self.parts = (self.run,)
        self.results = (self.result,)

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


def generate(step: CapturedStep[TokenBatch], slots: Sequence[int]) -> list[int]:
    """One step of these slots, each ready and reserved: their tokens."""
    step.batch.load(slots)
    (tokens,) = step.run()
    return [int(token) for token in tokens.numpy()[: len(slots)]]
