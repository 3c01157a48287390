"""What ends an utterance early: a full cache, no memory, no slot, numbers that are not finite, a lost device."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from llm.runtime.attention import Segment
from llm.runtime.cache import CacheFull, PagedCache
from llm.runtime.decoder import Decoder
from tests.fakes.speech_bench import SAME, STALL_S, TEXTS, Bench, alone
from tts.interface import EngineBusy, EngineUnreachable, SynthesisError
from tts.voxtral.codebooks import END
from tts.voxtral.flow import FlowHead
from tts.voxtral.model import VoxtralTTS
from tts.voxtral.slots import SpeechSlots


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
    await first.outlet.wait_until_admitted(STALL_S)
    await second.outlet.wait_until_admitted(STALL_S)
    with pytest.raises(EngineBusy, match="all 2 slots"):
        await third.outlet.wait_until_admitted(STALL_S)
    first.is_cancelled = True
    fourth = bench.submit(3)
    await bench.step()
    await fourth.outlet.wait_until_admitted(STALL_S)
    assert fourth.slot == first.slot


async def test_who_would_not_fit_the_cache_is_refused(model: VoxtralTTS) -> None:
    prompt_pages = -(-len(model.prompt_ids("casual_male", TEXTS[0])) // 8)
    bench = Bench(model, pages=2 * prompt_pages + 6)
    small, large = bench.submit(0, expected_frames=8), bench.submit(1, expected_frames=200)
    await bench.step()
    await small.outlet.wait_until_admitted(STALL_S)
    with pytest.raises(EngineBusy, match="cache"):
        await large.outlet.wait_until_admitted(STALL_S)
    await bench.run()
    np.testing.assert_allclose(bench.samples(small), alone(model, 0), atol=SAME)


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
        await waiting.outlet.wait_until_admitted(STALL_S)
    assert bench.stepper.next_deadline() is None
