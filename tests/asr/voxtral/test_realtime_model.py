"""The batched step against transformers' whole pass: every tensor on the way, at every position."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from asr.voxtral.audio_step import AudioBatch, BlankPenalty
from asr.voxtral.model import VoxtralRealtime
from asr.voxtral.slots import ListeningSlots
from asr.voxtral.timing import LEFT_PAD, LOOK_AHEAD_SAMPLES, START, STEP_SAMPLES
from llm.runtime.backend import AttentionBackend

Speech = Callable[[int, int], NDArray[np.float32]]
TOLERANCE = 1e-4
PAGE_TOKENS = 16


def blocks_of(samples: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """What each step hears, from the first that hears any audio: LOOK_AHEAD_SAMPLES beyond its 80 ms.

    The last of them are silence here and a reflection in the reference: the samples should end with silence.
    """
    silence = np.zeros(STEP_SAMPLES - LOOK_AHEAD_SAMPLES, np.float32)
    padded = np.concatenate((silence, samples, np.zeros(LOOK_AHEAD_SAMPLES, np.float32)))
    return list(padded.reshape(-1, STEP_SAMPLES))


class Run:
    """Streams stepped by hand; `rows` says which take part in each step."""

    def __init__(
        self,
        model: VoxtralRealtime,
        streams: int,
        batch: int,
        backend: AttentionBackend | None = None,
        penalty: BlankPenalty | None = None,
    ) -> None:
        self.slots = ListeningSlots(
            model, count=streams, tokens_per_slot=200, page_tokens=PAGE_TOKENS, attention_backend=backend
        )
        self.batch = AudioBatch(self.slots, batch, penalty)
        self.passes: dict[int, list[dict[str, Tensor]]] = {slot: [] for slot in range(streams)}

    def start(self, slot: int, delay: int) -> None:
        self.slots.warm(delay, slot, lambda: self._run([slot], [np.zeros(STEP_SAMPLES, np.float32)], keep=False))
        self.slots.start(slot, delay)

    def step(self, slots: Sequence[int], blocks: Sequence[NDArray[np.float32]]) -> None:
        for slot in slots:
            self.slots.reserve(slot)
        self._run(slots, blocks, keep=True)

    def _run(self, slots: Sequence[int], blocks: Sequence[NDArray[np.float32]], *, keep: bool) -> None:
        self.batch.load(slots, blocks)
        fed = self.slots.tokens[list(slots)]
        heard = self.batch.forward()
        self.batch.commit(heard)
        result = self.batch.result.clone()
        for row, slot in enumerate(slots if keep else ()):
            named = {"mel": heard.mel, "encoded": heard.encoded, "audio": heard.audio, "logits": heard.logits}
            self.passes[slot].append(
                {name: tensor[row] for name, tensor in named.items()} | {"fed": fed[row], "token": result[row]}
            )

    def outputs(self, slot: int) -> dict[str, Tensor]:
        return {name: torch.stack([one[name] for one in self.passes[slot]]) for name in self.passes[slot][0]}


def whole_pass(reference: Any, samples: NDArray[np.float32], fed: Tensor, delay: int) -> dict[str, Tensor]:
    """The reference's numbers from position START on, given what our stream fed itself."""
    silence = torch.zeros(LEFT_PAD * STEP_SAMPLES)
    mel = reference.mel(torch.cat((silence, torch.from_numpy(samples))))
    ids = torch.cat((torch.tensor([1] + [32] * (START - 1)), fed))
    found = reference.forward(mel, ids, delay)
    return {name: tensor.unflatten(0, (len(ids), -1))[START:] for name, tensor in found.items()}


def check(ours: dict[str, Tensor], expected: dict[str, Tensor], delay: int) -> None:
    for name in ("mel", "encoded"):
        torch.testing.assert_close(ours[name], expected[name], atol=TOLERANCE, rtol=1e-4)
    for name in ("audio", "logits"):
        torch.testing.assert_close(ours[name], expected[name][:, 0], atol=TOLERANCE, rtol=1e-4)
    writes = torch.arange(START, START + len(ours["token"])) >= LEFT_PAD + delay
    argmax = expected["logits"][:, 0].argmax(1)
    argmax = argmax.where(argmax != 2, 32)
    assert ours["token"].tolist() == argmax.where(writes, 32).tolist()


@pytest.mark.parametrize("backend", ["segments", "gathered"])
@pytest.mark.parametrize("delay", [1, 6, 30])
def test_a_stream_equals_the_whole_pass(
    reference: Any, model: VoxtralRealtime, speech: Speech, delay: int, backend: AttentionBackend
) -> None:
    samples = speech(60, delay)  # both rings go round
    run = Run(model, streams=1, batch=1, backend=backend)
    run.start(0, delay)
    for block in blocks_of(samples):
        run.step([0], [block])
    ours = run.outputs(0)
    check(ours, whole_pass(reference, samples, ours["fed"], delay), delay)


def test_ragged_streams_with_joins_and_leaves_equal_alone(
    reference: Any, model: VoxtralRealtime, speech: Speech
) -> None:
    """Three delays in one batch; streams begin, pause and end at different steps, and a slot is used again."""
    run = Run(model, streams=3, batch=4)
    delays = {0: 6, 1: 3, 2: 12}
    audio = {slot: speech(50, 10 + slot) for slot in delays}
    todo = {slot: blocks_of(audio[slot]) for slot in delays}
    rng = np.random.default_rng(5)
    run.start(0, delays[0])
    run.step([0], [speech(1, 1)])  # someone else, who leaves
    run.slots.free(0)
    run.passes[0].clear()
    for slot, delay in delays.items():
        run.start(slot, delay)
    while any(todo.values()):
        ready = [slot for slot in todo if todo[slot] and rng.random() < 0.7]
        if ready:
            run.step(ready, [todo[slot].pop(0) for slot in ready])
    for slot, delay in delays.items():
        ours = run.outputs(slot)
        check(ours, whole_pass(reference, audio[slot], ours["fed"], delay), delay)
        run.slots.free(slot)


def test_freed_slots_leave_every_page_free(model: VoxtralRealtime, speech: Speech) -> None:
    run = Run(model, streams=2, batch=2)
    run.start(0, 6)
    run.slots.free(0)
    before = (run.slots.encoder_cache.free_pages, run.slots.decoder_cache.free_pages)
    for _ in range(3):
        run.start(0, 6)
        run.start(1, 6)
        for block in blocks_of(speech(4, 0)):
            run.step([0, 1], [block, block])
        run.slots.free(1)
        run.slots.free(0)
        run.slots.free(0)
    assert (run.slots.encoder_cache.free_pages, run.slots.decoder_cache.free_pages) == before


@torch.inference_mode()
def test_a_row_that_is_not_finite_fails_alone(model: VoxtralRealtime, speech: Speech) -> None:
    run = Run(model, streams=2, batch=2)
    for slot in (0, 1):
        run.start(slot, 1)
    run.slots.samples[0] = torch.nan
    for block in blocks_of(speech(8, 1)):
        run.step([0, 1], [block, block])
    assert run.outputs(0)["token"][-1] == -1
    assert (run.outputs(1)["token"] >= 0).all()


@torch.inference_mode()
def test_a_long_run_of_blanks_is_made_dearer(model: VoxtralRealtime, speech: Speech) -> None:
    penalty = BlankPenalty(after=2, slope=1.0, most=3.0)
    batch = AudioBatch(ListeningSlots(model, count=1, tokens_per_slot=100, page_tokens=PAGE_TOKENS), 1, penalty)
    batch.slots.warm(1, 0, lambda: (batch.load([0], [np.zeros(STEP_SAMPLES, np.float32)]), batch.run()))
    batch.slots.start(0, 1)
    blank, rival = 32, 100
    tokens = []
    for _ in range(8):
        batch.slots.reserve(0)
        batch.load([0], [np.zeros(STEP_SAMPLES, np.float32)])
        heard = batch.forward()
        logits = torch.full_like(heard.logits, -50.0)
        logits[0, blank], logits[0, rival] = 10.0, 7.5
        batch.commit(heard._replace(logits=logits))
        tokens.append(int(batch.result[0]))
    # the first two steps only fill up the delay; five blanks cost 3 > 2.5
    assert tokens == [blank] * 7 + [rival]
    assert int(batch.slots.blanks[0]) == 0


def test_the_idle_slot_goes_nowhere(model: VoxtralRealtime, speech: Speech) -> None:
    run = Run(model, streams=1, batch=4)
    run.start(0, 2)
    for block in blocks_of(speech(5, 2)):
        run.step([0], [block])
    assert int(run.slots.positions[1]) == 0
    assert int(run.slots.positions[0]) == START + 6 == run.slots.steps(0)
