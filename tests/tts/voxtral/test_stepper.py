"""The engine's step, driven without threads: what is spoken, what is dropped, and that nobody notices the others."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from tests.fakes.speech_bench import FRAMES, SAME, STALL_S, Bench, alone
from tts.chunks import SpeakingRate
from tts.voxtral.codebooks import END
from tts.voxtral.flow import FlowHead
from tts.voxtral.model import VoxtralTTS
from tts.voxtral.utterance import UtteranceRequest

EULER_STEPS = 7  # of a frame


async def test_together_as_alone(model: VoxtralTTS) -> None:
    bench = Bench(model)
    jobs = [bench.submit(which) for which in range(4)]
    await bench.run()
    for which, job in enumerate(jobs):
        np.testing.assert_allclose(bench.samples(job), alone(model, which), atol=SAME)
        await job.outlet.wait_until_admitted(STALL_S)
        with pytest.raises(StopAsyncIteration):
            await job.outlet.take(STALL_S)


async def test_ragged_joins_and_leaves_as_alone(model: VoxtralTTS) -> None:
    bench = Bench(model, count=3, batches=(1, 2, 3))
    jobs: dict[int, UtteranceRequest] = {}
    for which in range(5):
        while len(bench.stepper._requests) == 3:
            await bench.step()
        jobs[which] = bench.submit(which)
        for _ in range(which + 3):
            await bench.step()
    await bench.run()
    for which, job in jobs.items():
        np.testing.assert_allclose(bench.samples(job), alone(model, which), atol=SAME)


async def test_cancelled_between_euler_steps(model: VoxtralTTS, during_euler: list[Callable[[int], None]]) -> None:
    for at in range(EULER_STEPS):
        await cancel_at(at, model, during_euler)


async def cancel_at(at: int, model: VoxtralTTS, during_euler: list[Callable[[int], None]]) -> None:
    """No further Euler step for it, nothing delivered, the slot free at the next step, the others the same bits."""
    undisturbed = Bench(model)
    plain = [undisturbed.submit(which) for which in range(3)]
    await undisturbed.run()

    bench = Bench(model)
    jobs = [bench.submit(which) for which in range(3)]
    victim = jobs[1]

    def cancel(step: int) -> None:
        if step == at and victim.frames == 4:
            victim.is_cancelled = True
            victim.outlet.close()

    during_euler[:] = [cancel]
    while not victim.is_cancelled:
        await bench.step()
    assert victim.euler_steps == 4 * EULER_STEPS + at + 1, at
    newcomer = bench.submit(3)
    await bench.step()
    assert newcomer.slot == victim.slot, at
    await bench.run()
    assert victim.euler_steps == 4 * EULER_STEPS + at + 1, at
    assert victim.frames == 4, at
    assert bench.stepper.counters.frames_dropped == 1, at
    np.testing.assert_array_equal(bench.samples(jobs[0]), undisturbed.samples(plain[0]))
    np.testing.assert_array_equal(bench.samples(jobs[2]), undisturbed.samples(plain[2]))
    np.testing.assert_allclose(bench.samples(newcomer), alone(model, 3), atol=SAME)


async def test_a_frame_that_nobody_wants_ends_between_euler_steps(
    model: VoxtralTTS, during_euler: list[Callable[[int], None]]
) -> None:
    bench = Bench(model)
    jobs = [bench.submit(which) for which in range(2)]

    def cancel_all(step: int) -> None:
        for job in jobs:
            job.is_cancelled = step == 2

    during_euler.append(cancel_all)
    await bench.run()
    assert bench.stepper.counters.euler_steps == 3
    assert bench.stepper.counters.frames == 0
    assert [job.euler_steps for job in jobs] == [3, 0]  # the second prompt was not read yet


async def test_held_then_resumed_speaks_the_same_samples(
    model: VoxtralTTS, during_euler: list[Callable[[int], None]]
) -> None:
    for at in range(EULER_STEPS):
        await hold_at(at, model, during_euler)


async def hold_at(at: int, model: VoxtralTTS, during_euler: list[Callable[[int], None]]) -> None:
    undisturbed = Bench(model)
    plain = [undisturbed.submit(which) for which in range(2)]
    await undisturbed.run()

    bench = Bench(model)
    jobs = [bench.submit(which) for which in range(2)]
    held = jobs[0]
    launched: list[int] = []

    def hold(step: int) -> None:
        if step == at and held.frames == 3 and not launched:
            held.is_held = True
            launched.append(held.euler_steps)

    during_euler[:] = [hold]
    for _ in range(12):
        await bench.step()
    assert held.is_held, at
    assert held.frames == 3, at
    assert [held.euler_steps] == launched, at
    held.is_held = False
    await bench.run()
    assert held.euler_steps == EULER_STEPS * FRAMES + at + 1, at  # the dropped frame was begun again
    for job, other in zip(jobs, plain, strict=True):
        np.testing.assert_array_equal(bench.samples(job), undisturbed.samples(other))


async def test_no_frame_is_synthesized_beyond_the_lead(model: VoxtralTTS) -> None:
    bench = Bench(model)
    job = bench.submit(0, lead=3)
    while bench.stepper.next_deadline() is not None:
        bench.stepper.step()
    assert job.frames == 3
    await job.outlet.take(STALL_S)
    assert bench.stepper.next_deadline() is not None
    bench.stepper.step()
    assert job.frames == 4
    assert bench.stepper.next_deadline() is None


async def test_the_end_frame_ends_the_utterance(model: VoxtralTTS, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(model)
    job = bench.submit(0)
    semantic = FlowHead.semantic

    def end_after_four(head: FlowHead, hidden: torch.Tensor) -> torch.Tensor:
        return semantic(head, hidden) if job.frames < 4 else torch.full((len(hidden),), END)

    with monkeypatch.context() as patched:
        patched.setattr(FlowHead, "semantic", end_after_four)
        await bench.run()
    np.testing.assert_allclose(bench.samples(job), alone(model, 0, frames=4), atol=SAME)
    assert bench.stepper.rate.frames(20) < SpeakingRate().frames(20)  # 20 characters in 4 frames: faster than guessed
