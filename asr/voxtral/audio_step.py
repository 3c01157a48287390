"""The batched 80 ms step over static buffers: new audio in, one token out, for each stream that has its audio.

    load (host) -> run -> tokens

`run` does not synchronize with the host and has fixed shapes, so that it can be captured once and replayed. `load` of
the next step must wait for this one's end.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from asr.voxtral.encoder import FRAMES
from asr.voxtral.slots import ListeningSlots
from asr.voxtral.stem import Tails
from asr.voxtral.timing import KEPT_SAMPLES, LEFT_PAD, STEP_SAMPLES
from llm.runtime.backend import StepTokens
from llm.runtime.loop.captured_step import CapturedStep
from llm.runtime.loop.transfer import SlotList, pin

FAILED = -1  # in place of a token: the row's numbers were not finite


@dataclass(frozen=True, slots=True)
class BlankPenalty:
    """What a long run of blanks costs the next one, against the rut in which the model hears nothing any more.

    Values from vLLM pull request 47615: a rut prefers blanks by 3.5 to 6.6, true silence by 8.5 and more, and
    silences inside speech are not longer than 165 steps.
    """

    after: int = 200
    slope: float = 0.5
    most: float = 7.0


class ForwardOutput(NamedTuple):
    """What one step computes, before anything of it is committed."""

    mel: Tensor  # [B, 8, mels] float32
    encoded: Tensor  # [B, FRAMES, encoder D]
    audio: Tensor  # [B, D], the adapter's output
    logits: Tensor  # [B, V] float32, before the penalty
    samples: Tensor  # [B, KEPT_SAMPLES]
    tails: Tails


class AudioBatch:
    """Buffers for steps of up to `size` slots. Rows stand in the order given to `load`.

    Attributes:
        result: [B] int64, the token of each row's step; FAILED where there is none.
    """

    def __init__(self, slots: ListeningSlots, size: int, penalty: BlankPenalty | None = None) -> None:
        """Without a `penalty` tokens are the likeliest ones."""
        device = slots.device
        self.size = size
        self.slots = slots
        self._penalty = penalty
        self._selected = SlotList(size, slots.count, device)
        self._host_samples = pin(torch.zeros((size, STEP_SAMPLES)), device)
        self._samples = self._host_samples.to(device, copy=True)
        self.result = torch.zeros(size, dtype=torch.int64, device=device)
        self.parts = (self.run,)
        self.results = (self.result,)

    def load(self, slots: Sequence[int], samples: Sequence[NDArray[np.float32]]) -> None:
        """Host: these started and reserved slots hear STEP_SAMPLES new samples each; they move on by a step."""
        self._selected.set(slots)
        rows = self._host_samples.numpy()
        for row, (slot, block) in enumerate(zip(slots, samples, strict=True)):
            rows[row] = block
            self.slots.count_step(slot)
        self._samples.copy_(self._host_samples, non_blocking=True)

    @torch.inference_mode()
    def run(self) -> None:
        """Hear and write, for all rows."""
        self.commit(self.forward())

    @torch.inference_mode()
    def forward(self) -> ForwardOutput:
        """From audio to scores. The caches are written at the positions of this step, nothing else changes."""
        slots, model, index = self.slots, self.slots.model, self._selected.index
        positions = slots.positions[index]
        samples = torch.cat((slots.samples[index], self._samples), dim=1)  # [B, KEPT_SAMPLES + STEP_SAMPLES]
        mel = model.mel(samples)
        frames, tails = model.stem(mel.to(model.dtype), Tails(slots.mel_tail[index], slots.inner_tail[index]))
        frame_tokens = StepTokens(
            index, positions * FRAMES, slots.encoder_cache, slots.attention_backend, queries=FRAMES
        )
        encoded = model.encoder.step(frames, frame_tokens)
        audio = model.adapter(encoded)
        hidden = model.decoder.step(
            audio + model.decoder.embed(slots.tokens[index]),
            StepTokens(index, positions, slots.decoder_cache, slots.attention_backend),
            ffn_scale=model.delay_scales[slots.delays[index]],
        )
        return ForwardOutput(mel, encoded, audio, model.decoder.logits(hidden), samples[:, -KEPT_SAMPLES:], tails)

    @torch.inference_mode()
    def commit(self, output: ForwardOutput) -> None:
        """Choose the tokens and move the slots on."""
        slots, index = self.slots, self._selected.index
        special = slots.model.special_tokens
        blanks = slots.blanks[index]
        chosen = self._penalize(output.logits, blanks).argmax(dim=1)
        # an end of the transcription means nothing while the caller is there
        chosen = chosen.masked_fill(chosen == special.eos, special.blank)
        writes = slots.positions[index] >= LEFT_PAD + slots.delays[index]  # before that the delay fills up
        token = chosen.masked_fill(~writes, special.blank)
        blanks = (blanks + 1).masked_fill(~writes | (token != special.blank), 0)
        for state, new in (
            (slots.samples, output.samples),
            (slots.mel_tail, output.tails.mel),
            (slots.inner_tail, output.tails.inner),
            (slots.tokens, token),
            (slots.blanks, blanks),
        ):
            state.index_copy_(0, index, new)
        slots.positions.index_add_(0, index, torch.ones_like(index))
        slots.positions[slots.count].fill_(0)  # the idle slot goes nowhere; `= 0` would copy from the host and wait
        self.result.copy_(token.masked_fill(~output.logits.isfinite().all(dim=1), FAILED))

    def _penalize(self, logits: Tensor, blanks: Tensor) -> Tensor:
        if self._penalty is None:
            return logits
        cost = ((blanks - self._penalty.after) * self._penalty.slope).clamp(0.0, self._penalty.most)
        column = torch.full_like(blanks, self.slots.model.special_tokens.blank)[:, None]
        return logits.scatter_add(1, column, -cost[:, None])


def hear(step: CapturedStep[AudioBatch], slots: Sequence[int], samples: Sequence[NDArray[np.float32]]) -> list[int]:
    """One step of these slots, each started and reserved, over STEP_SAMPLES new samples each: their tokens."""
    step.batch.load(slots, samples)
    (tokens,) = step.run()
    return [int(token) for token in tokens.numpy()[: len(slots)]]
