"""The batched frame step over static buffers: draw a frame for each selected slot, then move on the slots committed.

    select (host) -> begin -> euler(0) ... euler(n - 1) -> commit (host) -> decode -> advance

The calls without "(host)" do not synchronize with the host and have fixed shapes, so that each can be captured once
and replayed. Host calls of one step may follow each other freely; those of the next must wait for this step's end.
"""

from collections.abc import Sequence
from functools import partial

import torch

from llm.runtime.backend import StepTokens
from llm.runtime.loop.transfer import SlotList
from tts.voxtral.codebooks import END, SPECIALS
from tts.voxtral.euler import euler_step
from tts.voxtral.slots import NOISE_FRAMES, SpeechSlots


class FrameBatch:
    """Buffers for steps of up to `size` slots. Rows stand in the order given to `select`.

    Attributes:
        latent: [B, A] float32, at the flow time that the Euler steps have reached.
        samples: [B, frame samples] float32, of the frame just decoded.
        codes: [B, K] int64, as drawn.
        ended: [B] bool; the frame is an END: nothing is spoken and the utterance is over.
        finite: [B] bool; False: the row failed, and its samples and codes mean nothing.
    """

    def __init__(self, slots: SpeechSlots, size: int) -> None:
        config = slots.model.config
        device, template = slots.device, slots.hidden
        self.size = size
        self._slots = slots
        self._rows: list[int] = []
        self._selected = SlotList(size, slots.count, device)
        self._committed = SlotList(size, slots.count, device)
        self._semantic = torch.zeros(size, dtype=torch.int64, device=device)
        self._condition = template.new_zeros((2, size, config.flow.layer.dim))
        self._guidance = torch.ones((size, 1), device=device)
        self.latent = torch.zeros((size, config.codebooks.acoustic), device=device)
        self._spoken = torch.zeros((size, config.codebooks.count), dtype=torch.int64, device=device)
        self.codes = torch.zeros_like(self._spoken)
        self.samples = torch.zeros((size, config.codec.frame_samples), device=device)
        self.ended = torch.zeros(size, dtype=torch.bool, device=device)
        self.finite = torch.ones(size, dtype=torch.bool, device=device)
        euler_steps = [partial(self.euler, step) for step in range(config.flow.euler_steps)]
        self.parts = (self.begin, *euler_steps, self.decode, self.advance)
        self.results = (self.samples, self.ended, self.finite)

    def select(self, slots: Sequence[int]) -> None:
        """Host: a frame is to be drawn for these slots, each started and at most once."""
        self._rows = list(slots)
        self._selected.set(self._rows)

    @torch.inference_mode()
    def begin(self) -> None:
        """Semantic codes, conditions and noise of the selected slots."""
        slots, index = self._slots, self._selected.index
        flow = slots.model.flow
        hidden = slots.hidden[index]  # [B, D]
        self._semantic.copy_(flow.semantic(hidden))
        self._condition.copy_(flow.condition(hidden))
        self._guidance.copy_(slots.guidance[index])
        self.latent.copy_(slots.noise[index, slots.frames[index] % NOISE_FRAMES])

    @torch.inference_mode()
    def euler(self, step: int) -> None:
        """One Euler step of all rows."""
        model = self._slots.model
        latent = euler_step(model.flow, model.schedule, step, self.latent, self._condition, self._guidance)
        self.latent.copy_(latent)

    def commit(self, slots: Sequence[int]) -> None:
        """Host: of the selected slots these are to speak their frame; the others stay as they were.

        Each must have been reserved.
        """
        committed = set(slots)
        assert committed <= set(self._rows)
        self._committed.set([slot if slot in committed else -1 for slot in self._rows])
        for slot in slots:
            self._slots.count_frame(slot)

    @torch.inference_mode()
    def decode(self) -> None:
        """Codes and samples of the frame; the codecs of the committed slots move on."""
        slots, index = self._slots, self._committed.index
        self.codes.copy_(slots.model.config.codebooks.frame(self._semantic, self.latent))
        self.ended.copy_(self._semantic == END)
        finite = self.latent.isfinite().all(dim=1) & slots.hidden[self._selected.index].isfinite().all(dim=1)
        # what is not valid must still be an index: it reaches tables on the device
        is_valid = (finite & ~self.ended)[:, None]
        self._spoken.copy_(self.codes.where(is_valid, SPECIALS))
        self.samples.copy_(slots.model.codec.step(self._spoken, slots.codec_state, index))
        self.finite.copy_(finite & self.samples.isfinite().all(dim=1))

    @torch.inference_mode()
    def advance(self) -> None:
        """Feed the frame back: the decoder steps, and the committed slots hold the state of their next frame."""
        slots, index = self._slots, self._committed.index
        model = slots.model
        tokens = StepTokens(index, slots.positions[index], slots.cache, slots.attention_backend)
        hidden = model.backbone.step(model.embedding(self._spoken), tokens)
        slots.hidden.index_copy_(0, index, hidden)
        one = torch.ones_like(index)
        for counter in (slots.positions, slots.frames):
            counter.index_add_(0, index, one)
            counter[slots.count].fill_(0)  # the idle slot goes nowhere; `= 0` would copy from the host and wait
