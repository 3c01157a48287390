"""That the steps can be captured, tried without a GPU.

On the meta device nothing has a value to look at, or a host to wait for; on a CPU it shows where a number of the host
is made a tensor. Attention reads with a fixed span here: the kernels have tests of their own.
"""

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import cast

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from asr.voxtral.architecture import VoxtralArchitecture
from asr.voxtral.audio_step import AudioBatch, BlankPenalty
from asr.voxtral.model import VoxtralRealtime
from asr.voxtral.slots import ListeningSlots
from benchmarks.engines.recognition_models import TINY
from llm.ministral.chat_format import ChatFormat
from llm.ministral.model import Ministral
from llm.ministral.slots import ReplySlots
from llm.ministral.token_step import TokenBatch
from llm.runtime.architecture import DecoderConfig
from tts.voxtral.euler import Schedule
from tts.voxtral.frame_step import FrameBatch
from tts.voxtral.model import VoxtralConfig, VoxtralTTS
from tts.voxtral.slots import SpeechSlots

SPEECH_PARAMS = Path(__file__).parent / "data" / "voxtral-tts" / "params.json"
META = torch.device("meta")
CHAT = DecoderConfig(
    dim=32, n_layers=2, n_heads=4, n_kv_heads=2, head_dim=8, hidden_dim=64, vocab_size=96, rope_theta=1e6, head="untied"
)


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


class NoNumberOfTheHost(TorchDispatchMode):
    """Fails where a number becomes a tensor: assigned to an element of a CUDA tensor it is copied, and waited for."""

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        assert function is not torch.ops.aten.lift_fresh.default
        return function(*arguments, **(options or {}))


def finish(model: nn.Module, device: torch.device) -> None:
    """Buffers on the device as well, and values where there can be any."""
    for module in model.modules():
        for name, buffer in module.named_buffers(recurse=False):
            module.register_buffer(name, buffer.to(device), persistent=False)
    for parameter in model.parameters():
        parameter.normal_(std=0.1)


def speech_part(name: str, device: torch.device) -> Callable[[], None]:
    config = VoxtralConfig.from_params(json.loads(SPEECH_PARAMS.read_text()))
    model = VoxtralTTS(config, None, device, torch.bfloat16)
    finish(model, device)
    model.schedule = Schedule.of(model.flow, config.flow.euler_steps)
    batch = FrameBatch(SpeechSlots(model, count=3, pages=8, attention_backend="gathered"), 2)
    batch.select([])
    batch.commit([])
    batch.begin()
    return (lambda: batch.euler(3)) if name == "euler" else getattr(batch, name)


def recognition(penalty: BlankPenalty | None, device: torch.device) -> Callable[[], None]:
    model = VoxtralRealtime(VoxtralArchitecture.from_params(TINY), None, device, torch.bfloat16)
    finish(model, device)
    model._finish(device, torch.bfloat16)  # pyright: ignore[reportPrivateUsage]
    slots = ListeningSlots(model, count=3, tokens_per_slot=64, page_tokens=16, attention_backend="gathered")
    return AudioBatch(slots, 2, penalty).run


def chat(device: torch.device) -> Callable[[], None]:
    model = Ministral(CHAT, cast("ChatFormat", None), device, torch.bfloat16)
    finish(model, device)
    return TokenBatch(ReplySlots(model, count=3, cache_tokens=128, max_tokens=64, attention_backend="gathered"), 2).run


STEPS: dict[str, Callable[[torch.device], Callable[[], None]]] = {
    **{f"speech, {part}": partial(speech_part, part) for part in ("begin", "euler", "decode", "advance")},
    "recognition": partial(recognition, None),
    "recognition, blanks penalized": partial(recognition, BlankPenalty()),
    "chat": chat,
}


@pytest.mark.parametrize("step", STEPS)
@torch.inference_mode()
def test_no_step_makes_a_tensor_of_a_number(step: str) -> None:
    work = STEPS[step](torch.device("cpu"))
    work()
    with NoNumberOfTheHost():
        work()


@pytest.mark.parametrize("step", STEPS)
def test_no_step_looks_at_a_value_or_leaves_the_device(step: str) -> None:
    work = STEPS[step](META)
    work()  # tables that are built once are built before the capture
    with OneDevice() as mode:
        work()
    assert mode.operations > 5


def test_a_transfer_is_noticed() -> None:
    with pytest.raises(AssertionError, match="works on"), OneDevice():
        torch.zeros(2, device=META).add_(torch.zeros(2).to(META))
    with pytest.raises(RuntimeError), OneDevice():
        torch.zeros(1, device=META).item()
    with pytest.raises(AssertionError), NoNumberOfTheHost():
        torch.zeros(2)[1] = 3
