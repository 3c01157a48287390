"""That the steps can be captured: on the meta device nothing has a value to look at, or a host to wait for."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from asr.architecture import RealtimeConfig
from asr.slots import ListeningSlots
from asr.steps import BlankPenalty, StepBatch
from asr.voxtral import VoxtralRealtime
from benchmarks.recognition_models import TINY
from llm.architecture import DecoderConfig
from llm.chat_format import ChatFormat
from llm.ministral import Ministral
from llm.slots import ReplySlots
from llm.steps import TokenBatch
from tts.euler import Schedule
from tts.frames import FrameBatch
from tts.slots import SpeechSlots
from tts.voxtral import VoxtralConfig, VoxtralTTS

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


def move_buffers(model: nn.Module) -> None:
    for module in model.modules():
        for name, buffer in module.named_buffers(recurse=False):
            module.register_buffer(name, buffer.to(META), persistent=False)


def speech_part(name: str) -> Callable[[], None]:
    config = VoxtralConfig.from_params(json.loads(SPEECH_PARAMS.read_text()))
    model = VoxtralTTS(config, None, META, torch.bfloat16)
    move_buffers(model)
    model.schedule = Schedule.of(model.flow, config.flow.euler_steps)
    batch = FrameBatch(SpeechSlots(model, count=3, pages=8, reading="gathered"), 2)
    batch.select([])
    batch.keep([])
    return (lambda: batch.euler(3)) if name == "euler" else getattr(batch, name)


def recognition(penalty: BlankPenalty | None) -> Callable[[], None]:
    model = VoxtralRealtime(RealtimeConfig.from_params(TINY), None, META, torch.bfloat16)
    move_buffers(model)
    model._finish(META, torch.bfloat16)  # pyright: ignore[reportPrivateUsage]
    slots = ListeningSlots(model, count=3, tokens_per_slot=64, page_tokens=16, reading="gathered")
    return StepBatch(slots, 2, penalty).run


def chat() -> Callable[[], None]:
    model = Ministral(CHAT, cast("ChatFormat", None), META, torch.bfloat16)
    move_buffers(model)
    return TokenBatch(ReplySlots(model, count=3, cache_tokens=128, max_tokens=64, reading="gathered"), 2).run


STEPS: dict[str, Callable[[], Callable[[], None]]] = {
    **{f"speech, {part}": lambda part=part: speech_part(part) for part in ("begin", "euler", "decode", "advance")},
    "recognition": lambda: recognition(None),
    "recognition, blanks penalised": lambda: recognition(BlankPenalty()),
    "chat": chat,
}


@pytest.mark.parametrize("step", STEPS)
def test_no_step_looks_at_a_value_or_leaves_the_device(step: str) -> None:
    work = STEPS[step]()
    work()  # tables that are built once are built before the capture
    with OneDevice() as mode:
        work()
    assert mode.operations > 5


def test_a_transfer_is_noticed() -> None:
    with pytest.raises(AssertionError, match="works on"), OneDevice():
        torch.zeros(2, device=META).add_(torch.zeros(2).to(META))
    with pytest.raises(RuntimeError), OneDevice():
        torch.zeros(1, device=META).item()
