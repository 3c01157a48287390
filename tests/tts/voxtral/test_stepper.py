"""The engine's step, driven without threads: what is spoken, what is dropped, and that nobody notices the others."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from llm.runtime.attention import Segment
from llm.runtime.cache import CacheFull, PagedCache
from llm.runtime.decoder import Decoder
from llm.runtime.loop.outlet import Outlets
from tts.chunks import SpeakingRate
from tts.interface import EngineBusy, EngineUnreachable, SynthesisError
from tts.voxtral.codebooks import END
from tts.voxtral.flow import FlowHead
from tts.voxtral.frame_step import FrameBatch
from tts.voxtral.model import VoxtralTTS
from tts.voxtral.slots import SpeechSlots, Start
from tts.voxtral.stepper import SpeechStepper
from tts.voxtral.utterance import UtteranceRequest

GOLDEN = Path(__file__).parents[2] / "data" / "voxtral-tts"
SAME = 2e-5  # waveform tolerance of the golden set: other batch sizes multiply matrices in another order
TEXTS = ([40, 41, 42], [100, 101], [200, 201, 202, 203, 204], [300], [77, 78, 79, 80])
FRAMES = 7
STALL_S = 1.0


@pytest.fixture(scope="module")
def model() -> VoxtralTTS:
    torch.set_num_threads(1)
    return VoxtralTTS.load(GOLDEN, device=torch.device("cpu"), dtype=torch.float32)


class Here:
    """An event loop that is always at hand."""

    def call_soon_threadsafe(self, function: Callable[..., None], *arguments: object) -> None:
        function(*arguments)


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


@pytest.fixture
def during_euler(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Callable[[int], None]]]:
    """Functions called as each Euler step runs, with its number."""
    hooks: list[Callable[[int], None]] = []
    original = FrameBatch.euler

    def euler(batch: FrameBatch, step: int) -> None:
        for hook in hooks:
            hook(step)
        original(batch, step)

    monkeypatch.setattr(FrameBatch, "euler", euler)
    return hooks


async def test_together_as_alone(model: VoxtralTTS) -> None:
    bench = Bench(model)
    jobs = [bench.submit(which) for which in range(4)]
    await bench.run()
    for which, job in enumerate(jobs):
        np.testing.assert_allclose(bench.samples(job), alone(model, which), atol=SAME)
        await job.outlet.admitted(STALL_S)
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


@pytest.mark.parametrize("at", range(7))
async def test_cancelled_between_euler_steps(
    model: VoxtralTTS, during_euler: list[Callable[[int], None]], at: int
) -> None:
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

    during_euler.append(cancel)
    while not victim.is_cancelled:
        await bench.step()
    assert victim.euler_steps == 4 * 7 + at + 1
    newcomer = bench.submit(3)
    await bench.step()
    assert newcomer.slot == victim.slot
    await bench.run()
    assert victim.euler_steps == 4 * 7 + at + 1
    assert victim.frames == 4
    assert bench.stepper.counters.frames_dropped == 1
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


@pytest.mark.parametrize("at", range(7))
async def test_held_then_resumed_speaks_the_same_samples(
    model: VoxtralTTS, during_euler: list[Callable[[int], None]], at: int
) -> None:
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

    during_euler.append(hold)
    for _ in range(12):
        await bench.step()
    assert held.is_held
    assert held.frames == 3
    assert [held.euler_steps] == launched
    held.is_held = False
    await bench.run()
    assert held.euler_steps == 7 * FRAMES + at + 1  # the dropped frame was begun again
    for job, other in zip(jobs, plain, strict=True):
        np.testing.assert_array_equal(bench.samples(job), undisturbed.samples(other))


async def test_a_row_that_becomes_not_a_number_fails_alone(model: VoxtralTTS) -> None:
    undisturbed = Bench(model)
    plain = [undisturbed.submit(which) for which in range(3)]
    await undisturbed.run()

    bench = Bench(model)
    jobs = [bench.submit(which) for which in range(3)]
    while jobs[1].frames < 3:
        await bench.step()
    bench.slots.hidden[jobs[1].slot] = float("nan")
    await bench.run()
    with pytest.raises(SynthesisError, match="NaN"):
        await jobs[1].outlet.take(STALL_S)
    for sound in (0, 2):
        np.testing.assert_array_equal(bench.samples(jobs[sound]), undisturbed.samples(plain[sound]))
    again = bench.submit(1)
    await bench.run()
    np.testing.assert_allclose(bench.samples(again), alone(model, 1), atol=SAME)


async def test_no_page_for_the_next_frame_ends_that_utterance_alone(
    model: VoxtralTTS, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(model)
    poor, rich = bench.submit(0), bench.submit(1)
    reserve = SpeechSlots.reserve

    def refuse(slots: SpeechSlots, slot: int) -> None:
        if slot == poor.slot and poor.frames == 2:
            raise CacheFull("no page")
        reserve(slots, slot)

    with monkeypatch.context() as patched:
        patched.setattr(SpeechSlots, "reserve", refuse)
        await bench.run()
    with pytest.raises(EngineBusy, match="cache"):
        await poor.outlet.take(STALL_S)
    np.testing.assert_allclose(bench.samples(rich), alone(model, 1), atol=SAME)


async def test_prompts_that_do_not_fit_together_begin_one_by_one(
    model: VoxtralTTS, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(model)
    bench.stepper._prefill_tokens = 100
    jobs = [bench.submit(which) for which in range(3)]
    bench.slots.warm("casual_male", 0)
    prefill = Decoder.prefill

    def out_of_memory(
        decoder: Decoder, embedded: torch.Tensor, parts: Sequence[Segment], cache: PagedCache
    ) -> torch.Tensor:
        if len(parts) > 1 or parts[0].tokens > len(TEXTS[0]) + 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return prefill(decoder, embedded, parts, cache)

    with monkeypatch.context() as patched:
        patched.setattr(Decoder, "prefill", out_of_memory)
        await bench.run()
    with pytest.raises(EngineBusy, match="out of memory"):
        await jobs[2].outlet.take(STALL_S)
    for which in range(2):
        np.testing.assert_allclose(bench.samples(jobs[which]), alone(model, which), atol=SAME)


async def test_who_finds_no_slot_is_refused_and_a_cancelled_slot_is_given_again(model: VoxtralTTS) -> None:
    bench = Bench(model, count=2, batches=(1, 2))
    first, second, third = (bench.submit(which) for which in range(3))
    await bench.step()
    await first.outlet.admitted(STALL_S)
    await second.outlet.admitted(STALL_S)
    with pytest.raises(EngineBusy, match="all 2 slots"):
        await third.outlet.admitted(STALL_S)
    first.is_cancelled = True
    fourth = bench.submit(3)
    await bench.step()
    await fourth.outlet.admitted(STALL_S)
    assert fourth.slot == first.slot


async def test_who_would_not_fit_the_cache_is_refused(model: VoxtralTTS) -> None:
    prompt_pages = -(-len(model.prompt_ids("casual_male", TEXTS[0])) // 8)
    bench = Bench(model, pages=2 * prompt_pages + 6)
    small, large = bench.submit(0, expected_frames=8), bench.submit(1, expected_frames=200)
    await bench.step()
    await small.outlet.admitted(STALL_S)
    with pytest.raises(EngineBusy, match="cache"):
        await large.outlet.admitted(STALL_S)
    await bench.run()
    np.testing.assert_allclose(bench.samples(small), alone(model, 0), atol=SAME)


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


async def test_an_utterance_without_a_frame_is_an_error(model: VoxtralTTS, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FlowHead, "semantic", lambda head, hidden: torch.full((len(hidden),), END))
    bench = Bench(model)
    job = bench.submit(0)
    await bench.run()
    with pytest.raises(SynthesisError, match="nothing to say"):
        await job.outlet.take(STALL_S)


async def test_a_failed_step_ends_all_and_the_next_utterance_is_whole(model: VoxtralTTS) -> None:
    bench = Bench(model)
    jobs = [bench.submit(which) for which in range(2)]
    while jobs[1].frames < 2:
        await bench.step()
    bench.stepper.fail(RuntimeError("device lost"))
    for job in jobs:
        with pytest.raises(SynthesisError, match="device lost"):
            await job.outlet.take(STALL_S)
    again = bench.submit(0)
    await bench.run()
    np.testing.assert_allclose(bench.samples(again), alone(model, 0), atol=SAME)


async def test_listeners_are_told_of_a_device_that_is_lost_for_good(
    model: VoxtralTTS, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(model)
    jobs = [bench.submit(which) for which in range(2)]
    await bench.step()

    def lost(slots: SpeechSlots, slot: int) -> None:
        raise RuntimeError("device lost")

    monkeypatch.setattr(SpeechSlots, "free", lost)
    with pytest.raises(RuntimeError):
        bench.stepper.fail(RuntimeError("device lost"))
    for job in jobs:
        with pytest.raises(SynthesisError, match="device lost"):
            while True:
                await job.outlet.take(STALL_S)


async def test_stopping_answers_everyone(model: VoxtralTTS) -> None:
    bench = Bench(model)
    speaking = bench.submit(0)
    await bench.step()
    waiting = bench.submit(1)
    bench.stepper.stop()
    with pytest.raises(EngineUnreachable, match="stopped"):
        await speaking.outlet.take(STALL_S)
    with pytest.raises(EngineUnreachable, match="stopped"):
        await waiting.outlet.admitted(STALL_S)
    assert bench.stepper.next_deadline() is None
