"""The tiny speech engine: its settings, and its stepper without threads, with listeners that take every step's."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from llm.runtime.loop.outlet import Outlets
from tts.config import VoxtralTTSConfig
from tts.voxtral.frame_step import FrameBatch
from tts.voxtral.model import VoxtralTTS
from tts.voxtral.slots import SpeechSlots, Start
from tts.voxtral.stepper import SpeechStepper
from tts.voxtral.utterance import UtteranceRequest

GOLDEN = Path(__file__).parents[1] / "data" / "voxtral-tts"
SAME = 2e-5  # waveform tolerance of the golden set: other batch sizes multiply matrices in another order
TEXTS = ([40, 41, 42], [100, 101], [200, 201, 202, 203, 204], [300], [77, 78, 79, 80])
FRAMES = 7
STALL_S = 1.0


def config(**changes: object) -> VoxtralTTSConfig:
    """Settings of the tiny speech engine."""
    settings = {"checkpoint": GOLDEN, "device": "cpu", "dtype": "float32", "slots": 4, "seed": 7, "max_seconds": 0.8}
    return VoxtralTTSConfig.model_validate({**settings, **changes})


class Here:
    """An event loop that is always at hand."""

    def call_soon_threadsafe(self, callback: Callable[..., object], *arguments: Any) -> None:
        callback(*arguments)


class Bench:
    """A stepper with listeners that take what is there after every step."""

    def __init__(
        self, model: VoxtralTTS, *, count: int = 4, pages: int = 64, batches: Sequence[int] = (1, 2, 4)
    ) -> None:
        self.slots = SpeechSlots(model, count=count, pages=pages, page_tokens=8)
        self.pages = pages
        self.stepper = SpeechStepper(
            self.slots,
            Outlets(Here()),
            batches=batches,
            prefill_tokens=1,
            guidance=1.2,
            clock=lambda: self.now_s,
        )
        self.now_s = 0.0
        self.heard: dict[UtteranceRequest, list[NDArray[np.float32]]] = {}

    def submit(self, which: int, *, expected_frames: int = FRAMES, lead: int = 2) -> UtteranceRequest:
        job = UtteranceRequest.of(
            "x" * 20,
            TEXTS[which],
            voice="casual_male",
            seed=which,
            sample_rate_hz=24000,
            expected_frames=expected_frames,
            max_frames=FRAMES,
            lead_frames=lead,
            wake=lambda: None,
        )
        job.submitted_s = self.now_s
        self.heard[job] = []
        self.stepper.submit(job)
        return job

    async def step(self) -> bool:
        if self.stepper.next_deadline() is None:
            return False
        self.stepper.step()
        self.now_s += 0.01
        for job, parts in self.heard.items():
            while job.outlet.sent > job.outlet.taken and not job.is_cancelled:
                parts.append((await job.outlet.take(STALL_S)).samples)
        return True

    async def run(self) -> None:
        while await self.step():
            pass

    def samples(self, job: UtteranceRequest) -> NDArray[np.float32]:
        return np.concatenate(self.heard[job])


def alone(model: VoxtralTTS, which: int, frames: int = FRAMES) -> NDArray[np.float32]:
    """The utterance by the plainest loop: one slot, one row, the codec once at the end."""
    slots = SpeechSlots(model, count=1, pages=64, page_tokens=8)
    slots.start([Start(0, "casual_male", TEXTS[which], seed=which, guidance=1.2)])
    batch = FrameBatch(slots, 1)
    codes = []
    for _ in range(frames):
        slots.reserve(0)
        batch.select([0])
        batch.begin()
        for step in range(model.config.flow.euler_steps):
            batch.euler(step)
        batch.commit([0])
        batch.decode()
        batch.advance()
        codes.append(batch.codes[0].clone())
    return model.codec.decode(torch.stack(codes)).numpy()
