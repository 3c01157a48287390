from pathlib import Path

import torch

from llm.runtime.loop.graphs import GraphPool
from tts.voxtral.captured_step import FrameProgram
from tts.voxtral.model import VoxtralTTS
from tts.voxtral.slots import SpeechSlots

GOLDEN = Path(__file__).parents[2] / "data" / "voxtral-tts"


def test_on_a_cpu_the_program_is_its_batch() -> None:
    model = VoxtralTTS.load(GOLDEN, device=torch.device("cpu"), dtype=torch.float32)
    program = FrameProgram.of(SpeechSlots(model, count=1, pages=8), 1, GraphPool(torch.device("cpu")))
    assert len(program.euler) == model.config.flow.euler_steps
    assert program.samples is program.batch.samples
    program.fetch()()  # nothing to wait for
