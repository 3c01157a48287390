"""The engine as its callers see it, over a real step loop, and its stepper by hand where steps are counted."""

import asyncio
import random
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.utils._python_dispatch import TorchDispatchMode

from asr.config import VoxtralRealtimeConfig
from asr.interface import (
    AudioRejected,
    EngineBusy,
    EngineUnreachable,
    Recognition,
    RecognitionError,
    Transcript,
)
from asr.voxtral.architecture import VoxtralArchitecture
from asr.voxtral.audio_step import FAILED, AudioBatch, hear
from asr.voxtral.blocks import AudioBlock, BlockCutter
from asr.voxtral.engine import VoxtralRecognizer
from asr.voxtral.model import VoxtralRealtime
from asr.voxtral.slots import PAGE_TOKENS, ListeningSlots
from asr.voxtral.stepper import ListeningStepper
from asr.voxtral.stream import ListeningRequest
from asr.voxtral.timing import EXTRA_PAD, LEFT_PAD, STEP_MS, STEP_SAMPLES
from asr.voxtral.turn_text import TurnText
from llm.runtime.architecture import DecoderConfig
from llm.runtime.loop.captured_step import CapturedStep
from llm.runtime.loop.outlet import Outlet, Outlets
from llm.runtime.loop.step_loop import StepLoop

Speech = Callable[[int, int], NDArray[np.float32]]
Samples = NDArray[np.float32]
DELAY = 6
HOUR_STEPS = 3600 * 1000 // STEP_MS
NOWHERE = Path("/nowhere")
PATIENCE_S = 30.0


def config(**settings: Any) -> VoxtralRealtimeConfig:
    return VoxtralRealtimeConfig(checkpoint=NOWHERE, device="cpu", dtype="float32", **{"streams": 8, **settings})


@asynccontextmanager
async def engine(model: VoxtralRealtime, **settings: Any) -> AsyncIterator[VoxtralRecognizer]:
    async with StepLoop("test") as loop, VoxtralRecognizer(config(**settings), loop, model) as recognizer:
        yield recognizer


def alone(model: VoxtralRealtime, samples: Samples, delay: int = DELAY) -> tuple[str, list[int]]:
    """Text and tokens of one whole turn, stepped by hand."""
    slots = ListeningSlots(model, count=1, tokens_per_slot=len(samples) // STEP_SAMPLES + 100)
    batch = AudioBatch(slots, 1)

    def step(block: Samples) -> int:
        batch.load([0], [block])
        batch.run()
        return int(batch.result[0])

    slots.warm(delay, 0, lambda: step(np.zeros(STEP_SAMPLES, np.float32)))
    slots.start(0, delay)
    cutter = BlockCutter(delay)
    text, tokens = TurnText(0), []
    for item in [*cutter.push(samples, 0.0), *cutter.flush(0.0)]:
        if isinstance(item, AudioBlock):
            slots.reserve(0)
            tokens.append(step(item.samples))
            text.add(model.bytes_of(tokens[-1]), item.at_samples)
    return text.transcript(len(samples), is_final=True).text, tokens


async def until_final(recognition: Recognition) -> list[Transcript]:
    found: list[Transcript] = []
    async with asyncio.timeout(PATIENCE_S):
        async for transcript in recognition:
            found.append(transcript)
            if transcript.is_final:
                break
    return found


def pushed(recognition: Recognition, samples: Samples, sizes: Sequence[int]) -> None:
    start, turn = 0, 0
    while start < len(samples):
        size = sizes[turn % len(sizes)]
        recognition.push(samples[start : start + size])
        start, turn = start + size, turn + 1


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


@pytest.mark.parametrize("sizes", [[10**6], [320], [1, 1279, 41, 4000]])
async def test_any_push_size_gives_the_same_transcripts(
    tiny_model: VoxtralRealtime, speech: Speech, sizes: Sequence[int]
) -> None:
    samples = speech(25, 3)[:-100]
    expected, _ = alone(tiny_model, samples)
    async with engine(tiny_model) as recognizer, recognizer.listen() as recognition:
        pushed(recognition, samples, sizes)
        recognition.flush()
        transcripts = await until_final(recognition)

    assert transcripts[-1].text == expected
    assert (transcripts[-1].start_samples, transcripts[-1].end_samples) == (0, len(samples))
    texts = [transcript.text for transcript in transcripts]
    assert len(texts) > 2
    assert all(later.startswith(earlier) for earlier, later in pairwise(texts))
    times = [(word.start_samples, word.end_samples) for word in transcripts[-1].words]
    assert all(0 <= start <= end <= len(samples) for start, end in times)


async def test_streams_of_all_delays_together_equal_alone(tiny_model: VoxtralRealtime, speech: Speech) -> None:
    delays = [80, 480, 240, 2400, 960, 480]
    audio = [speech(15 + 3 * index, index) for index in range(len(delays))]

    async def one(recognizer: VoxtralRecognizer, index: int) -> str:
        async with recognizer.listen(delay_ms=delays[index], language="de") as recognition:
            for start in range(0, len(audio[index]), 700 + 100 * index):
                recognition.push(audio[index][start : start + 700 + 100 * index])
                await asyncio.sleep(0)
            recognition.flush()
            return (await until_final(recognition))[-1].text

    async with engine(tiny_model) as recognizer, asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(recognizer, index)) for index in range(len(delays))]
    for task, delay, samples in zip(tasks, delays, audio, strict=True):
        assert task.result() == alone(tiny_model, samples, delay // 80)[0]


async def test_every_flush_is_answered_once_and_the_next_turn_begins_afresh(
    tiny_model: VoxtralRealtime, speech: Speech
) -> None:
    first, second = speech(8, 1), speech(9, 2)
    async with engine(tiny_model) as recognizer, recognizer.listen() as recognition:
        recognition.flush()
        recognition.push(first)
        recognition.flush()
        recognition.flush()
        recognition.push(second)
        recognition.flush()
        finals = [(await until_final(recognition))[-1] for _ in range(4)]
    assert [final.text for final in finals] == ["", alone(tiny_model, first)[0], "", alone(tiny_model, second)[0]]
    assert [final.start_samples for final in finals] == [0, 0, len(first), len(first)]
    assert finals[-1].end_samples == len(first) + len(second)


class Bench:
    """A stepper driven by hand; nothing but the test moves it or the time."""

    def __init__(
        self,
        model: VoxtralRealtime,
        streams: int,
        restart_after: int = 10**9,
        replay: int = 4,
        page_tokens: int | None = None,
    ) -> None:
        self.slots = ListeningSlots(model, count=streams, tokens_per_slot=200, page_tokens=page_tokens)
        self.stepper = ListeningStepper(
            self.slots,
            Outlets(asyncio.get_running_loop()),
            batches=(1, streams),
            penalty=None,
            restart_after=restart_after,
        )
        self.stepper.warm(DELAY)
        self.free = self.pages()
        self._replay = replay

    def pages(self) -> tuple[int, int]:
        return self.slots.encoder_cache.free_pages, self.slots.decoder_cache.free_pages

    def open(self) -> tuple[ListeningRequest, BlockCutter]:
        stream = ListeningRequest(
            delay=DELAY,
            outlet=Outlet[Transcript](1000, on_taken=lambda: None),
            recent=deque(maxlen=self._replay),
        )
        self.stepper.submit(stream)
        self.settle()
        return stream, BlockCutter(DELAY)

    def settle(self) -> int:
        """Step until there is nothing to do: how many steps that took."""
        before = self.stepper.counters.steps
        while self.stepper.next_deadline() is not None:
            self.stepper.step()
        return self.stepper.counters.steps - before


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


async def test_ten_thousand_streams_leave_nothing_behind(tiny_model: VoxtralRealtime) -> None:
    rng = random.Random(4)
    block = np.zeros(STEP_SAMPLES, np.float32)
    tasks = asyncio.all_tasks()
    async with engine(tiny_model, streams=6, delay_ms=80) as recognizer:
        stepper = recognizer._running
        free = (stepper._slots.encoder_cache.free_pages, stepper._slots.decoder_cache.free_pages)
        refused = 0

        async def callers(count: int) -> None:
            nonlocal refused
            for _ in range(count):
                try:
                    async with recognizer.listen() as recognition:
                        flushes = 0
                        for _ in range(rng.randrange(3) if rng.random() < 0.1 else 0):
                            recognition.push(block[: rng.randrange(STEP_SAMPLES)])
                            if rng.random() < 0.5:
                                recognition.flush()
                                flushes += 1
                        if flushes and rng.random() < 0.2:
                            await until_final(recognition)
                        if rng.random() < 0.1:
                            raise ConnectionError
                except EngineBusy:
                    refused += 1
                except ConnectionError:
                    continue

        async with asyncio.timeout(PATIENCE_S * 4), asyncio.TaskGroup() as group:
            for _ in range(8):
                group.create_task(callers(1250))
        await recognizer._loop.run(stepper._settle)
        assert refused
        assert stepper._requests == {}
        assert sorted(stepper._free) == list(range(6))
        assert (stepper._slots.encoder_cache.free_pages, stepper._slots.decoder_cache.free_pages) == free
    assert asyncio.all_tasks() == tasks
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("step-loop")]


async def test_the_stream_over_the_limit_is_refused_until_one_leaves(tiny_model: VoxtralRealtime) -> None:
    async with engine(tiny_model, streams=1) as recognizer:
        async with recognizer.listen():
            with pytest.raises(EngineBusy, match="all 1 streams"):
                await recognizer.listen().__aenter__()
        async with recognizer.listen():
            pass


@pytest.mark.parametrize(
    ("samples", "complaint"),
    [
        (np.zeros(10, np.int16), "int16"),
        (np.zeros((10, 2), np.float32), r"\(10, 2\)"),
        (np.array([0.0, np.nan], np.float32), "NaN"),
        (np.array([np.inf], np.float32), "NaN or infinity"),
        (np.array([3000.0], np.float32), "divide 16-bit samples"),
    ],
)
async def test_bad_audio_is_refused_and_the_stream_goes_on(
    tiny_model: VoxtralRealtime, speech: Speech, samples: Any, complaint: str
) -> None:
    good = speech(6, 1)
    async with engine(tiny_model) as recognizer, recognizer.listen() as recognition:
        recognition.push(good)
        with pytest.raises(AudioRejected, match=complaint):
            recognition.push(samples)
        recognition.flush()
        assert (await until_final(recognition))[-1].text == alone(tiny_model, good)[0]


async def test_a_failing_step_ends_its_streams_and_new_ones_may_come(
    tiny_model: VoxtralRealtime, speech: Speech, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with engine(tiny_model) as recognizer:
        with monkeypatch.context() as patch:
            patch.setattr(tiny_model.decoder, "logits", lambda hidden: 1 / 0)
            async with recognizer.listen() as recognition:
                recognition.push(speech(6, 1))
                with pytest.raises(RecognitionError, match="division"):
                    await until_final(recognition)
        async with recognizer.listen() as recognition:
            recognition.push(speech(6, 1))
            recognition.flush()
            assert (await until_final(recognition))[-1].text == alone(tiny_model, speech(6, 1))[0]


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


async def test_a_stream_that_falls_too_far_behind_ends(tiny_model: VoxtralRealtime) -> None:
    async with engine(tiny_model, backlog_s=1.0) as recognizer, recognizer.listen() as recognition:
        recognition.push(np.zeros(60 * STEP_SAMPLES, np.float32))
        with pytest.raises(EngineBusy, match="behind"):
            await until_final(recognition)
        recognition.push(np.zeros(STEP_SAMPLES, np.float32))
        recognition.flush()


async def test_stopping_the_engine_ends_its_streams(tiny_model: VoxtralRealtime) -> None:
    async with StepLoop("test") as loop:
        recognizer = VoxtralRecognizer(config(), loop, tiny_model)
        with pytest.raises(EngineUnreachable, match="not started"):
            await recognizer.listen().__aenter__()
        async with recognizer:
            recognition = await recognizer.listen().__aenter__()
        with pytest.raises(EngineUnreachable, match="stopped"):
            await until_final(recognition)
        assert await recognition.__aexit__(None, None, None) is None
        with pytest.raises(StopAsyncIteration):
            await recognition.__anext__()


async def test_an_engine_that_does_nothing_is_unreachable(tiny_model: VoxtralRealtime, speech: Speech) -> None:
    release = threading.Event()
    async with (
        engine(tiny_model, stall_timeout_s=0.2) as recognizer,
        recognizer.listen() as recognition,
        asyncio.TaskGroup() as group,
    ):
        group.create_task(recognizer._loop.run(lambda: release.wait(PATIENCE_S)))
        recognition.push(speech(6, 1))
        with pytest.raises(EngineUnreachable, match="did nothing"):
            await until_final(recognition)
        release.set()


def test_an_unknown_delay_is_refused() -> None:
    with pytest.raises(ValueError, match="multiple of 80"):
        config(delay_ms=100)
