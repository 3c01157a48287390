"""That the frame step can be captured: on the meta device nothing has a value to look at, or a host to wait for."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from llm.graphs import GraphPool
from tts.euler import Schedule
from tts.frame_program import FrameProgram
from tts.frames import FrameBatch
from tts.slots import SpeechSlots
from tts.voxtral import VoxtralConfig, VoxtralTTS

GOLDEN = Path(__file__).parent.parent / "data" / "voxtral-tts"
META = torch.device("meta")


def tensors(value: object) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for part in value:
            yield from tensors(part)
    elif isinstance(value, dict):
        yield from tensors(list(value.values()))


class OneDevice(TorchDispatchMode):
    """Fails at any operation between two devices: on CUDA that is a transfer, which a graph cannot hold."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = 0

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        result = function(*arguments, **(options or {}))
        devices = {tensor.device.type for tensor in tensors([arguments, options or {}, result])}
        assert len(devices) <= 1, f"{function} works on {devices}"
        self.operations += devices == {"meta"}
        return result


@pytest.fixture(scope="module")
def slots() -> SpeechSlots:
    config = VoxtralConfig.from_params(json.loads((GOLDEN / "params.json").read_text()))
    model = VoxtralTTS(config, None, META, torch.bfloat16)
    for module in model.modules():
        for name, buffer in module.named_buffers(recurse=False):
            module.register_buffer(name, buffer.to(META), persistent=False)
    model.schedule = Schedule.of(model.flow, config.flow.euler_steps)
    return SpeechSlots(model, count=3, pages=8, reading="gathered")


@pytest.mark.parametrize("part", ["begin", "euler", "decode", "advance"])
def test_no_part_looks_at_a_value_or_leaves_the_device(slots: SpeechSlots, part: str) -> None:
    batch = FrameBatch(slots, 2)
    batch.select([])
    batch.keep([])
    work = (lambda: batch.euler(3)) if part == "euler" else getattr(batch, part)
    work()  # tables that are built once are built before the capture
    with OneDevice() as mode:
        work()
    assert mode.operations > 5


def test_a_transfer_is_noticed() -> None:
    with pytest.raises(AssertionError, match="works on"), OneDevice():
        torch.zeros(2, device=META).add_(torch.zeros(2).to(META))
    with pytest.raises(RuntimeError), OneDevice():
        torch.zeros(1, device=META).item()


def test_on_a_cpu_the_program_is_its_batch() -> None:
    model = VoxtralTTS.load(GOLDEN, device=torch.device("cpu"), dtype=torch.float32)
    program = FrameProgram.of(SpeechSlots(model, count=1, pages=8), 1, GraphPool(torch.device("cpu")))
    assert len(program.euler) == model.config.flow.euler_steps
    assert program.samples is program.batch.samples
    program.fetch()()  # nothing to wait for
