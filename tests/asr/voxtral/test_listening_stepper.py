"""The recognition engine's steps, counted: nothing but the test moves them or the time."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.utils._python_dispatch import TorchDispatchMode

from asr.interface import (
    EngineBusy,
    RecognitionError,
)
from asr.voxtral.architecture import VoxtralArchitecture
from asr.voxtral.audio_step import FAILED, AudioBatch, hear
from asr.voxtral.model import VoxtralRealtime
from asr.voxtral.slots import PAGE_TOKENS
from asr.voxtral.timing import EXTRA_PAD, LEFT_PAD, STEP_MS, STEP_SAMPLES
from llm.runtime.architecture import DecoderConfig
from llm.runtime.loop.captured_step import CapturedStep
from tests.fakes.listening_bench import DELAY, Bench, Samples, alone

Speech = Callable[[int, int], NDArray[np.float32]]
HOUR_STEPS = 3600 * 1000 // STEP_MS


@torch.inference_mode()
def test_a_turn_is_what_transformers_generates(reference: Any, model: VoxtralRealtime, speech: Speech) -> None:
    samples = speech(20, 7)
    _, tokens = alone(model, samples)
    padded = np.concatenate(
        [np.zeros(LEFT_PAD * STEP_SAMPLES), samples, np.zeros((DELAY + 1 + EXTRA_PAD) * STEP_SAMPLES)]
    ).astype(np.float32)
    prompt = torch.tensor([[1] + [32] * (LEFT_PAD + DELAY)])

    generated = reference.model.generate(
        input_ids=prompt,
        input_features=reference.mel(torch.from_numpy(padded)).T[None],
        num_delay_tokens=DELAY,
        do_sample=False,
        eos_token_id=None,
        max_length=len(padded) // STEP_SAMPLES,
        pad_token_id=11,
    )[0, prompt.shape[1] :].tolist()

    ours = tokens[1 + DELAY :]  # from the last position of the prompt on
    assert len(generated) == len(ours) - 1  # which is one token fewer than the audio allows
    assert [32 if token == 2 else token for token in generated] == ours[:-1]


async def test_a_flush_takes_the_padding_in_steps_shared_with_other_streams(
    tiny_model: VoxtralRealtime, speech: Speech
) -> None:
    bench = Bench(tiny_model, 3)
    one, cutter = bench.open()
    other, other_cutter = bench.open()
    third, third_cutter = bench.open()
    for stream, cut in ((one, cutter), (other, other_cutter), (third, third_cutter)):
        stream.items.extend(cut.push(speech(10, 1), 0.0))
    bench.settle()
    assert bench.stepper.counters.blocks == 3 * bench.stepper.counters.steps

    one.items.extend(cutter.flush(1.0))
    third.items.extend(third_cutter.flush(1.0))
    other.items.extend(other_cutter.push(speech(5, 2), 1.0))
    steps = bench.settle()

    # the last 80 ms waited for their look-ahead; then D + 1 steps drain the delay and ten are for a long last word
    assert steps == 1 + (DELAY + 1 + EXTRA_PAD)
    assert bench.stepper.counters.turns == 2
    assert one.text is None
    assert other.text is not None
    one.items.extend(cutter.push(speech(3, 4), 2.0))
    assert bench.settle() == 3


async def test_the_deadline_is_that_of_the_most_urgent_stream(tiny_model: VoxtralRealtime, speech: Speech) -> None:
    bench = Bench(tiny_model, 2)
    one, cutter = bench.open()
    other, other_cutter = bench.open()
    assert bench.stepper.next_deadline() is None
    one.items.extend(cutter.push(speech(1, 1), 5.0))
    assert bench.stepper.next_deadline() == 5.08
    other.items.extend(other_cutter.push(speech(1, 1), 4.5))
    assert bench.stepper.next_deadline() == 4.58
    one.items.extend(cutter.flush(5.01))
    bench.stepper.step()
    assert bench.stepper.next_deadline() == 5.01


async def test_a_stream_nobody_reads_waits_and_the_others_go_on(tiny_model: VoxtralRealtime, speech: Speech) -> None:
    bench = Bench(tiny_model, 2)
    slow, cutter = bench.open()
    quick, quick_cutter = bench.open()
    slow.outlet._capacity = 1
    for stream, cut in ((slow, cutter), (quick, quick_cutter)):
        stream.items.extend([*cut.push(speech(20, 5), 0.0), *cut.flush(0.0)])
    bench.settle()
    assert not quick.items
    assert slow.items
    expected, _ = alone(tiny_model, speech(20, 5))
    await asyncio.sleep(0)
    read = await slow.outlet.take(1.0)
    while not read.is_final:
        bench.settle()
        await asyncio.sleep(0)
        read = await slow.outlet.take(1.0)
    assert read.text == expected


async def test_a_stream_in_the_rut_begins_afresh_and_hears_the_newest_audio_again(
    tiny_model: VoxtralRealtime, speech: Speech, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tiny_model, 1, restart_after=12, replay=4)
    real = tiny_model.decoder.logits

    def deaf(hidden: torch.Tensor) -> torch.Tensor:
        logits = real(hidden)
        if not bench.stepper.counters.restarts:
            logits[:, tiny_model.special_tokens.blank] = 1e6
        return logits

    monkeypatch.setattr(tiny_model.decoder, "logits", deaf)
    samples = speech(30, 6)
    stream, cutter = bench.open()
    stream.items.extend([*cutter.push(samples, 0.0), *cutter.flush(0.0)])
    bench.settle()
    await asyncio.sleep(0)
    *_, final = [await stream.outlet.take(1.0) for _ in range(stream.outlet.sent)]

    assert bench.stepper.counters.restarts == 1
    # twelve blocks were heard, the last four of them twice: what precedes those is as if it had never been
    heard_from = (12 - 4 - 1) * STEP_SAMPLES + 40
    expected, _ = alone(tiny_model, np.concatenate((np.zeros(40, np.float32), samples[heard_from:])))
    assert final.text == expected
    assert final.end_samples == len(samples)
    assert all(word.end_samples >= heard_from - (1 + DELAY) * STEP_SAMPLES for word in final.words)


async def test_an_hour_costs_the_same_at_its_end_as_at_its_beginning() -> None:
    """Counted: operations and the numbers they write, over one round of the caches' pages."""
    encoder = DecoderConfig(
        dim=8, n_layers=1, n_heads=1, n_kv_heads=1, head_dim=8, hidden_dim=8, vocab_size=0, rope_theta=1e6,
        head="none", window=150,
    )  # fmt: skip
    decoder = replace(encoder, vocab_size=40, head="tied", window=40, ada_norm_dim=4)
    model = VoxtralRealtime.random(
        VoxtralArchitecture(encoder, decoder, mels=8), device=torch.device("cpu"), dtype=torch.float32
    )
    bench = Bench(model, 1)
    stream, cutter = bench.open()
    block = (np.random.default_rng(0).standard_normal(STEP_SAMPLES) * 0.1).astype(np.float32)

    def hear(steps: int) -> None:
        for _ in range(steps):
            stream.items.extend(cutter.push(block, 0.0))
            bench.settle()

    def cost() -> tuple[int, int]:
        with Count() as count:
            hear(PAGE_TOKENS["cpu"])
        return count.operations, count.numbers

    hear(PAGE_TOKENS["cpu"])  # both rings have gone round
    early, pages = cost(), bench.pages()
    # Time passes: whole rounds of both rings, so that everything stays in its place.
    round_steps = bench.slots.encoder_cache.columns * bench.slots.decoder_cache.columns * PAGE_TOKENS["cpu"]
    passed = HOUR_STEPS // round_steps * round_steps
    bench.slots.positions[0] += passed
    bench.slots._steps[0] += passed
    hear(100)
    assert bench.slots.steps(0) > HOUR_STEPS
    assert (cost(), bench.pages()) == (early, pages)


class Count(TorchDispatchMode):
    """Operations run, and elements of what they return."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = 0
        self.numbers = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        self.operations += 1
        if isinstance(result, torch.Tensor):
            self.numbers += result.numel()
        return result


async def test_a_stream_that_is_not_finite_ends_alone(
    tiny_model: VoxtralRealtime, speech: Speech, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tiny_model, 2)
    bad, bad_cutter = bench.open()
    good, good_cutter = bench.open()

    def hear_all_but_one(step: CapturedStep[AudioBatch], slots: Sequence[int], samples: Sequence[Samples]) -> list[int]:
        heard = zip(slots, hear(step, slots, samples), strict=True)
        return [FAILED if slot == bad.slot else token for slot, token in heard]

    monkeypatch.setattr("asr.voxtral.stepper.hear", hear_all_but_one)
    for stream, cutter in ((bad, bad_cutter), (good, good_cutter)):
        stream.items.extend([*cutter.push(speech(6, 1), 0.0), *cutter.flush(0.0)])
    bench.stepper.step()
    monkeypatch.undo()
    bench.settle()
    await asyncio.sleep(0)
    with pytest.raises(RecognitionError, match="became NaN"):
        await bad.outlet.take(1.0)
    *_, final = [await good.outlet.take(1.0) for _ in range(good.outlet.sent)]
    assert final.text == alone(tiny_model, speech(6, 1))[0]


async def test_a_full_cache_ends_the_stream_that_needed_more(tiny_model: VoxtralRealtime, speech: Speech) -> None:
    bench = Bench(tiny_model, 1, page_tokens=16)
    stream, cutter = bench.open()
    cache = bench.slots.decoder_cache
    kept = cache._take(cache.free_pages - 1)
    stream.items.extend(cutter.push(speech(60, 1), 0.0))
    bench.settle()
    await asyncio.sleep(0)
    with pytest.raises(EngineBusy, match="raise context_s"):
        for _ in range(100):
            await stream.outlet.take(1.0)
    cache._let_go(kept)
    assert bench.pages() == bench.free
