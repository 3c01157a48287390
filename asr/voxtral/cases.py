"""Comparison of the shipped model with a reference's numbers, tensor by tensor, on any device.

Everything here calls the modules that listen; nothing is computed a second way. Users run it to trust their machine.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from asr.voxtral.audio_step import AudioBatch
from asr.voxtral.blocks import AudioBlock, BlockCutter
from asr.voxtral.model import VoxtralRealtime
from asr.voxtral.slots import ListeningSlots
from asr.voxtral.timing import START, STEP_SAMPLES
from llm.runtime.loop.devices import open_device
from llm.runtime.verify import Comparison, compare_all, load_cases

TOLERANCE = 1e-4  # of everything, in float32
INPUTS = ("samples", "delay", "tokens")
OUTPUTS = ("mel", "encoded", "audio", "logits", "tokens")


def verify(checkpoint: Path, cases: Path, device: torch.device | str) -> Iterator[Comparison]:
    """Run every case of a set in float32 and compare, one result per expected tensor.

    A case is a turn. Its tensors are named CASE.samples [S] (16 kHz), CASE.delay (in steps) and, over the T steps of
    the turn, CASE.mel [T, 8, mels], CASE.encoded [T, 4, encoder D], CASE.audio [T, D], CASE.logits [T, V] and
    CASE.tokens [T]: the token of each step, which is the next one's input; blank while the delay fills up and in place
    of an end of the transcription.

    Args:
        checkpoint: folder of the model that the cases were made with.
        cases: the safetensors file.
        device: where to compute.

    Raises:
        CheckpointError: the model or the cases cannot be loaded.
        DeviceMissing: there is no such device.
    """
    device = open_device(str(device))
    expected = load_cases(cases, device, _wanted_names)
    model = VoxtralRealtime.load(checkpoint, device=device, dtype=torch.float32)
    inputs = [f"{case}.{part}" for case in _cases(expected) for part in ("samples", "delay")]
    yield from compare_all(_outputs(model, expected), expected, lambda _: TOLERANCE, inputs)


def _cases(names: Iterable[str]) -> list[str]:
    return sorted({name.rpartition(".")[0] for name in names})


def _wanted_names(names: Iterable[str]) -> list[str]:
    return [f"{case}.{part}" for case in _cases(names) for part in {*INPUTS, *OUTPUTS}]


def _outputs(model: VoxtralRealtime, expected: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    for case in _cases(expected):
        samples, delay, tokens = (expected[f"{case}.{part}"] for part in INPUTS)
        for part, found in _turn(model, samples, int(delay), tokens):
            yield f"{case}.{part}", found


@torch.inference_mode()
def _turn(model: VoxtralRealtime, samples: Tensor, delay: int, tokens: Tensor) -> list[tuple[str, Tensor]]:
    """Each output of a turn, step by step; each step is given the reference's token of the one before."""
    cutter = BlockCutter(delay)
    items = [*cutter.push(samples.cpu().numpy(), 0.0), *cutter.flush(0.0)]
    blocks = [item.samples for item in items if isinstance(item, AudioBlock)]
    slots = ListeningSlots(model, count=1, tokens_per_slot=START + len(blocks))
    batch = AudioBatch(slots, 1)
    silence = torch.zeros(STEP_SAMPLES).numpy()

    def hear_silence() -> None:
        batch.load([0], [silence])
        batch.run()
        _synchronize(slots.device)

    slots.warm(delay, 0, hear_silence)
    slots.start(0, delay)
    steps: list[tuple[Tensor, ...]] = []
    for block, token in zip(blocks, tokens, strict=False):
        slots.reserve(0)
        batch.load([0], [block])
        heard = batch.forward()
        batch.commit(heard)
        steps.append((heard.mel[0], heard.encoded[0], heard.audio[0], heard.logits[0], batch.result[0].clone()))
        slots.tokens[0] = token
        _synchronize(slots.device)
    return [(name, torch.stack(parts)) for name, parts in zip(OUTPUTS, zip(*steps, strict=True), strict=True)]


def _synchronize(device: torch.device) -> None:
    """Wait for the step: the host's lists may be written again."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
