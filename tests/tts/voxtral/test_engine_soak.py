"""What ten thousand utterances leave behind: nothing."""

import asyncio
import gc
import logging
import random
import threading
from dataclasses import replace

import psutil
import pytest
import torch

from llm.runtime.loop.step_loop import StepLoop
from tests.fakes.speech_bench import config
from tts.voxtral.engine import VoxtralSynthesizer
from tts.voxtral.model import VoxtralTTS

UTTERANCES = 10_000
CALLS = 48


@pytest.fixture(scope="module")
def smallest(model: VoxtralTTS) -> VoxtralTTS:
    """One layer everywhere and one Euler step, so that ten thousand utterances take seconds."""
    shape = model.config
    one_layer = replace(
        shape,
        backbone=replace(shape.backbone, n_layers=1),
        flow=replace(shape.flow, n_layers=1, euler_steps=1),
        codec=replace(shape.codec, layers=(1, 1, 1, 1), width=16, heads=1, hidden=16),
    )
    smallest = VoxtralTTS.random(one_layer, device=torch.device("cpu"), dtype=torch.float32)
    smallest.text_ids = lambda text: [40 + ord(letter) % 100 for letter in text]
    return smallest


async def test_ten_thousand_utterances_leave_nothing_behind(
    smallest: VoxtralTTS, loop: StepLoop, caplog: pytest.LogCaptureFixture
) -> None:
    """A third is cancelled at a random point, some before they are entered; some are held for a while."""
    caplog.set_level(logging.ERROR)  # what pytest keeps of the warnings would count as lost memory
    chance = random.Random(0)
    process = psutil.Process()
    left = iter(range(UTTERANCES))
    ended = {"whole": 0, "cancelled": 0}

    async def one() -> None:
        text = "x" * chance.randrange(1, 12)
        cut_after = chance.choice((None, None, chance.choice((-1, 1, 2))))
        utterance = engine.speak(text, voice=chance.choice(("casual_male", "fr_female")), language="en")
        if cut_after == -1:
            utterance.cancel()
        async with utterance:
            taken = 0
            async for _ in utterance:
                taken += 1
                if chance.random() < 0.05:
                    utterance.hold()
                    await asyncio.sleep(0)
                    utterance.resume()
                if taken == cut_after:
                    ended["cancelled"] += 1
                    return
        ended["cancelled" if taken < 3 else "whole"] += 1

    async def call(limit: int) -> None:
        while limit and next(left, None) is not None:
            await one()
            limit -= 1

    async def calls(limit: int) -> None:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(CALLS):
                tasks.create_task(call(limit))
        await loop.run(lambda: None)

    settings = config(slots=CALLS, max_seconds=0.16, seed=None)
    async with VoxtralSynthesizer(settings, loop, smallest) as engine:
        await calls(limit=20)
        stepper = engine._stepper
        assert stepper is not None
        gc.collect()
        before = (stepper._slots.free_pages, len(asyncio.all_tasks()), threading.active_count())
        memory = process.memory_info().rss
        await calls(limit=UTTERANCES)
        gc.collect()
        assert (stepper._slots.free_pages, len(asyncio.all_tasks()), threading.active_count()) == before
        assert len(stepper._free) == CALLS
        assert stepper._requests == {}
        assert process.memory_info().rss - memory < 4e6
    assert sum(ended.values()) == UTTERANCES
    assert 0.31 < ended["cancelled"] / UTTERANCES < 0.36
