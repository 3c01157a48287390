"""Recognition at full size on a GPU: random weights made there, callers in real time, and the floor beside it.

Needs torch, numpy and safetensors, no checkpoint. `--tiny` runs all of it on a CPU in under a minute, for no figures.

    python -m benchmarks.engines.gpu_asr [--tiny] [--streams 1,8,32,64,128] [--speaking 0,32,64] [--seconds 30]
"""

import argparse
import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from asr.voxtral.audio_step import AudioBatch, hear
from asr.voxtral.engine import VoxtralRecognizer
from asr.voxtral.model import VoxtralRealtime
from asr.voxtral.slots import ListeningSlots
from asr.voxtral.timing import EXTRA_PAD, START, STEP_MS, STEP_SAMPLES
from benchmarks import report
from benchmarks.engines import recognition_models, speech_models
from benchmarks.engines.recognition_callers import TURN_S, live
from benchmarks.engines.recognition_models import step_floor_ms
from benchmarks.engines.roofline import H200
from benchmarks.engines.speech_listeners import RandomSpeaker, speaker
from llm.runtime.backend import default_backend
from llm.runtime.loop.captured_step import CapturedStep
from llm.runtime.loop.devices import open_device
from llm.runtime.loop.graphs import GraphPool
from llm.runtime.loop.step_loop import StepLoop
from tts.voxtral.model import VoxtralTTS

DELAY = 6
FLUSH_STEPS = 1 + DELAY + 1 + EXTRA_PAD
TARGETS_MS = {50: 180, 99: 260}  # from the end of speech to the final, with 64 streams
SETTINGS = {  # as `asr.config` has them, which needs pydantic; a loaded machine may stall longer
    "blank_penalty": True, "restart_after_s": 20.0, "replay_s": 3.0, "backlog_s": 600.0, "unread_transcripts": 16,
    "stall_timeout_s": 60.0,
}  # fmt: skip
SWITCH_INTERVAL_S = 0.0005  # callers and steps share an interpreter, whose default keeps a step waiting for 5 ms


@dataclass(frozen=True)
class RecognitionPlan:
    """How many, how long."""

    streams: tuple[int, ...]
    contexts_s: tuple[float, ...]
    speaking: tuple[int, ...]
    live_s: float
    repeats: int


def step_times(model: VoxtralRealtime, plan: RecognitionPlan) -> list[dict[str, float]]:
    """Milliseconds of a step at each number of streams that have each heard so much audio, and of a flush then."""
    rows: list[dict[str, float]] = []
    for count in plan.streams:
        for context_s in plan.contexts_s:
            steps = START + round(context_s * 1000 / STEP_MS)
            slots = ListeningSlots(model, count=count, tokens_per_slot=steps + 2 * plan.repeats + FLUSH_STEPS)
            step = CapturedStep(AudioBatch(slots, count), GraphPool(slots.device))
            _listen_since(slots, step, steps)
            times = [_step_ms(slots, step) for _ in range(plan.repeats)]
            flush_ms = sum(_step_ms(slots, step) for _ in range(FLUSH_STEPS))
            floor_ms = step_floor_ms(H200, model, count, context_s)
            p50, p99 = (report.percentile(times, percent) for percent in (50, 99))
            rows.append({
                "streams": count, "context_s": context_s, "p50_ms": p50, "p99_ms": p99, "floor_ms": floor_ms,
                "times_floor": p50 / floor_ms, "flush_ms": flush_ms, "peak_gb": _peak_gb(),
            })  # fmt: skip
            del slots, step
            _reset_memory()
    return rows


def _listen_since(slots: ListeningSlots, step: CapturedStep[AudioBatch], steps: int) -> None:
    """Put every slot so many steps into its stream. What the caches hold there does not matter for the time."""
    silence = np.zeros(STEP_SAMPLES, np.float32)
    slots.warm(DELAY, 0, lambda: hear(step, [0], [silence]))
    for slot in range(slots.count):
        slots.start(slot, DELAY)
        slots._steps[slot] = steps
        slots.reserve(slot)
    slots.positions[: slots.count] = steps
    for _ in range(3):
        _step_ms(slots, step)


def _step_ms(slots: ListeningSlots, step: CapturedStep[AudioBatch]) -> float:
    """One whole step of all slots, with what the host does before and after."""
    everyone = range(slots.count)
    noise = [np.zeros(STEP_SAMPLES, np.float32)] * slots.count
    started_s = time.perf_counter()
    for slot in everyone:
        slots.reserve(slot)
    hear(step, everyone, noise)
    return (time.perf_counter() - started_s) * 1000


@asynccontextmanager
async def engines(
    model: VoxtralRealtime, voice: VoxtralTTS, streams: int, talking: int, device: torch.device
) -> AsyncIterator[tuple[VoxtralRecognizer, RandomSpeaker | None]]:
    """Recognition alone on a step loop, or on the one that speaks."""
    config: Any = SimpleNamespace(
        **SETTINGS, device=device.type, streams=streams, delay_ms=DELAY * STEP_MS, context_s=2 * TURN_S[1]
    )
    async with AsyncExitStack() as stack:
        speakers = await stack.enter_async_context(speaker(voice, talking)) if talking else None
        loop = speakers.loop if speakers else await stack.enter_async_context(StepLoop("benchmark"))
        yield await stack.enter_async_context(VoxtralRecognizer(config, loop, model)), speakers


async def live_levels(
    model: VoxtralRealtime, voice: VoxtralTTS, plan: RecognitionPlan, device: torch.device
) -> list[dict[str, Any]]:
    """Each number of callers beside each number of speaking calls."""
    rows: list[dict[str, Any]] = []
    for talking in plan.speaking:
        for count in plan.streams:
            async with engines(model, voice, count, talking, device) as (recognizer, speakers):
                calls = await live(recognizer, count, speakers, talking, plan.live_s)
                done = recognizer.counters
                rows.append({
                    "streams": count, "speaking": talking, "mean_batch": done.blocks / done.steps, "turns": done.turns,
                    **{f"final_p{p}_ms": report.percentile(calls.final_ms, p) for p in (50, 99)},
                    **{f"late_p{p}_ms": report.percentile(calls.late_ms, p) for p in (50, 99)},
                    "keeps_the_beat": report.percentile(calls.late_ms, 99) <= 0, "refused": calls.refused,
                    "peak_gb": _peak_gb(),
                })  # fmt: skip
            _reset_memory()
    return rows


def _peak_gb() -> float:
    return torch.cuda.max_memory_allocated() / 1e9 if torch.cuda.is_available() else 0.0


def _reset_memory() -> None:
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def _print_steps(rows: list[dict[str, float]]) -> None:
    print("\nOne step of all streams (80 ms of their audio), and a flush of all of them at once\n")
    header = ("streams", "context s", "p50 ms", "p99 ms", "H200 floor ms", "x floor", "of the beat", "flush ms",
              "GPU GB")  # fmt: skip
    print(report.table(header, [
        (str(row["streams"]), f"{row['context_s']:.0f}", f"{row['p50_ms']:.2f}", f"{row['p99_ms']:.2f}",
         f"{row['floor_ms']:.2f}", f"{row['times_floor']:.1f}", f"{row['p50_ms'] / STEP_MS:.0%}",
         f"{row['flush_ms']:.0f}", f"{row['peak_gb']:.1f}")
        for row in rows
    ]))  # fmt: skip


def _print_live(rows: list[dict[str, Any]]) -> None:
    targets = " and ".join(f"{ms} ms at p{percent}" for percent, ms in TARGETS_MS.items())
    print(f"\nLive callers in turns, in real time; aimed at for the final with 64 of them: {targets}\n")
    header = ("streams", "speaking calls", "mean batch", "flush to final p50/p99 ms", "late p99 ms", "keeps the beat",
              "turns", "refused", "GPU GB")  # fmt: skip
    print(report.table(header, [
        (str(row["streams"]), str(row["speaking"]), f"{row['mean_batch']:.1f}",
         f"{row['final_p50_ms']:.0f} / {row['final_p99_ms']:.0f}", f"{row['late_p99_ms']:.0f}",
         "yes" if row["keeps_the_beat"] else "no", str(row["turns"]), str(row["refused"]), f"{row['peak_gb']:.1f}")
        for row in rows
    ]))  # fmt: skip


def measure(plan: RecognitionPlan, model: VoxtralRealtime, voice: VoxtralTTS, device: torch.device) -> dict[str, Any]:
    """All of it, printed and returned."""
    steps = step_times(model, plan)
    _print_steps(steps)
    calls = asyncio.run(live_levels(model, voice, plan, device))
    _print_live(calls)
    return {"steps": steps, "live": calls}


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(",")))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--tiny", action="store_true", help="a tiny model on the CPU: shows that it runs")
    parser.add_argument("--streams", default="1,8,32,64,128", help="streams of each level")
    parser.add_argument("--speaking", default="0,32,64", help="speaking calls beside them")
    parser.add_argument("--seconds", type=float, default=30.0, help="length of a live level")
    arguments = parser.parse_args()
    is_tiny: bool = arguments.tiny
    if not is_tiny and not torch.cuda.is_available():
        parser.error("no CUDA device here; --tiny runs on the CPU")
    if is_tiny:
        plan = RecognitionPlan(streams=(1, 4), contexts_s=(1.0, 10.0), speaking=(0, 2), live_s=2.0, repeats=5)
        device, dtype = torch.device("cpu"), torch.float32
        torch.set_num_threads(1)
    else:
        plan = RecognitionPlan(_numbers(arguments.streams), (10.0, 60.0, 180.0), _numbers(arguments.speaking),
                    arguments.seconds, repeats=100)  # fmt: skip
        device, dtype = open_device("cuda"), torch.bfloat16
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    model = recognition_models.random_model(
        recognition_models.TINY if is_tiny else recognition_models.RELEASED, device, dtype
    )
    voice = speech_models.random_model(speech_models.TINY if is_tiny else speech_models.RELEASED, device, dtype)
    figures = {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "torch": torch.__version__, "backend": default_backend(device),
        "model": "tiny" if is_tiny else "released size, random weights",
        **measure(plan, model, voice, device),
    }  # fmt: skip
    print(f"\nwritten: {report.write('gpu_asr', figures, is_quick=is_tiny)}")


if __name__ == "__main__":
    main()
