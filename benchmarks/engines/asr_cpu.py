"""What a step of recognition costs on a CPU, beside the streaming generate of transformers at the same size.

A middle-sized random model in float32 on one thread, whose processor time counts, not the wall's: what else runs on
the machine does not. The ratios carry over, the milliseconds do not.

    python -m benchmarks.engines.asr_cpu [--quick]
"""

import argparse
import logging
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import VoxtralRealtimeConfig, VoxtralRealtimeForConditionalGeneration

from asr.voxtral.architecture import VoxtralArchitecture
from asr.voxtral.audio_step import AudioBatch, BlankPenalty, hear
from asr.voxtral.model import VoxtralRealtime
from asr.voxtral.slots import ListeningSlots
from asr.voxtral.timing import LEFT_PAD, START, STEP_SAMPLES
from benchmarks import report
from benchmarks.engines.recognition_models import MIDDLE, TINY, random_model
from benchmarks.engines.roofline import weights
from llm.runtime.architecture import DecoderConfig
from llm.runtime.loop.captured_step import CapturedStep
from llm.runtime.loop.graphs import GraphPool

DELAY = 6
BATCHES = (1, 2, 4, 8)
CONTEXT_STEPS = 125  # 10 s
TURNS = 4
STEP_MS = 80.0
MEL_FRAMES = 8  # of a step


class Listeners:
    """Streams that are being heard together."""

    def __init__(self, model: VoxtralRealtime, count: int, context: int) -> None:
        slots = ListeningSlots(model, count=count, tokens_per_slot=START + 2 * context)
        self.captured = CapturedStep(AudioBatch(slots, count, BlankPenalty()), GraphPool(slots.device))
        self.slots = slots
        self.everyone = list(range(count))
        silence = np.zeros(STEP_SAMPLES, np.float32)
        for slot in self.everyone:
            slots.warm(DELAY, slot, lambda slot=slot: hear(self.captured, [slot], [silence]))
            slots.start(slot, DELAY)
        noise = np.random.default_rng(0).standard_normal((count, STEP_SAMPLES)) * 0.1
        self.samples = list(noise.astype(np.float32))
        for _ in range(context):
            self.step()

    def step(self) -> None:
        for slot in self.everyone:
            self.slots.reserve(slot)
        hear(self.captured, self.everyone, self.samples)


def ours_ms(model: VoxtralRealtime, count: int, context: int, repeats: int) -> list[float]:
    """Milliseconds of each of `repeats` steps of so many streams, that many steps into their audio."""
    listeners = Listeners(model, count, context)
    return [_cpu_ms(listeners.step) for _ in range(repeats)]


def _cpu_ms(work: Callable[[], None]) -> float:
    started_s = time.thread_time()
    work()
    return (time.thread_time() - started_s) * 1000


def transformers_model(config: VoxtralArchitecture) -> VoxtralRealtimeForConditionalGeneration:
    """Their model of the same size, with random weights of its own."""

    def sizes(shape: DecoderConfig) -> dict[str, Any]:
        return {
            "hidden_size": shape.dim, "intermediate_size": shape.hidden_dim, "num_hidden_layers": shape.n_layers,
            "num_attention_heads": shape.n_heads, "head_dim": shape.head_dim, "sliding_window": shape.window,
            "rms_norm_eps": shape.norm_eps,
            "rope_parameters": {"rope_type": "default", "rope_theta": shape.rope_theta},
        }  # fmt: skip

    decoder = config.decoder
    text = {"num_key_value_heads": decoder.n_kv_heads, "vocab_size": decoder.vocab_size}
    return VoxtralRealtimeForConditionalGeneration(
        VoxtralRealtimeConfig(
            audio_config={**sizes(config.encoder), "num_mel_bins": config.mels},
            text_config={**sizes(decoder), **text, "model_type": "voxtral_realtime_text"},
        )
    ).eval()


def theirs_ms(config: VoxtralArchitecture, context: int, repeats: int) -> list[float]:
    """Milliseconds of each of `repeats` steps of their generate, fed as it pulls; its mel frames cost nothing here."""
    prefix = LEFT_PAD + DELAY + 1
    frames = torch.randn(1, config.mels, (prefix + context + repeats) * MEL_FRAMES)
    pulled_s: list[float] = []

    def features() -> Iterator[Tensor]:
        yield frames[:, :, : prefix * MEL_FRAMES]
        for step in range(prefix, frames.shape[2] // MEL_FRAMES):
            pulled_s.append(time.thread_time())
            yield frames[:, :, step * MEL_FRAMES : (step + 1) * MEL_FRAMES]
        pulled_s.append(time.thread_time())

    transformers_model(config).generate(  # pyright: ignore[reportAttributeAccessIssue]  (a mixin without types)
        input_ids=torch.tensor([[1] + [32] * (prefix - 1)]),
        input_features=features(),
        num_delay_tokens=DELAY,
        eos_token_id=None,
        pad_token_id=11,
    )
    steps = [(end - start) * 1000 for start, end in pairwise(pulled_s)]
    return steps[-repeats:]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a tiny model and few repeats: seconds, no figures")
    is_quick: bool = parser.parse_args().quick
    torch.set_num_threads(1)
    logging.getLogger("transformers").setLevel(logging.ERROR)
    repeats, context = (5, 10) if is_quick else (40, CONTEXT_STEPS)
    model = random_model(TINY if is_quick else MIDDLE, torch.device("cpu"), torch.float32)

    with torch.inference_mode():
        # in turns: what else the machine does weighs on both
        theirs: list[float] = []
        ours: dict[int, list[float]] = {count: [] for count in BATCHES}
        for _ in range(1 if is_quick else TURNS):
            theirs += theirs_ms(model.config, context, repeats)
            for count in BATCHES:
                ours[count] += ours_ms(model, count, context, repeats)

    their_ms = report.percentile(theirs, 50)
    medians = {count: report.percentile(steps, 50) for count, steps in ours.items()}
    print(f"\nOne step (80 ms of audio), {context * STEP_MS / 1000:.0f} s into it, ms; median of {len(theirs)}\n")
    header = ("streams", "transformers, one by one", "ours", "gain", "of one stream", "real-time streams a core")
    print(report.table(header, [
        (str(count), f"{their_ms * count:.1f}", f"{ms:.1f}", f"{their_ms * count / ms:.1f}x",
         f"{ms / medians[1]:.2f}x", f"{count * STEP_MS / ms:.0f}")
        for count, ms in medians.items()
    ]))  # fmt: skip
    figures = {
        "threads": 1, "torch": torch.__version__, "model": "tiny" if is_quick else "middle",
        "parameters": weights(model), "context_steps": context,
        "transformers_ms": report.summary(theirs), "ours_ms": {n: report.summary(ms) for n, ms in ours.items()},
    }  # fmt: skip
    print(f"\nwritten: {report.write('asr_cpu', figures, is_quick=is_quick)}")


if __name__ == "__main__":
    main()
