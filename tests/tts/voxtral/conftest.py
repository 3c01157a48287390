"""A model, a way into its Euler steps, and a step loop, for the tests of the speech engine."""

from collections.abc import AsyncIterator, Callable

import pytest
import torch

from llm.runtime.loop.step_loop import StepLoop
from tests.fakes.speech_bench import GOLDEN
from tts.voxtral.frame_step import FrameBatch
from tts.voxtral.model import VoxtralTTS


@pytest.fixture(scope="module")
def model() -> VoxtralTTS:
    torch.set_num_threads(1)
    return VoxtralTTS.load(GOLDEN, device=torch.device("cpu"), dtype=torch.float32)


@pytest.fixture
def during_euler(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[int], None]]:
    """Functions called as each Euler step runs, with its number."""
    hooks: list[Callable[[int], None]] = []
    original = FrameBatch.euler

    def euler(batch: FrameBatch, step: int) -> None:
        for hook in hooks:
            hook(step)
        original(batch, step)

    monkeypatch.setattr(FrameBatch, "euler", euler)
    return hooks


@pytest.fixture
async def loop() -> AsyncIterator[StepLoop]:
    async with StepLoop("test") as loop:
        yield loop
