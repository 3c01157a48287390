"""The speech engine at full size on a GPU: random weights made there, real listeners, and the floor beside it.

Needs torch, numpy and safetensors, no checkpoint. `--tiny` runs all of it on a CPU in under a minute, for no figures.

    python -m benchmarks.engines.gpu [--tiny] [--closed 1,8,16,32,64,128,256] [--open 64,128,192,256] [--seconds 30]
"""

import argparse
import asyncio
import logging
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch

from benchmarks import report
from benchmarks.engines.roofline import H200
from benchmarks.engines.speech_listeners import (
    CHARACTERS_PER_S,
    CHARACTERS_PER_TOKEN,
    ListeningStats,
    RandomSpeaker,
    listen,
    play,
    speaker,
)
from benchmarks.engines.speech_models import RELEASED, TINY, frame_floor_ms, random_model
from llm.runtime.backend import default_backend
from llm.runtime.loop.devices import open_device
from tts.voxtral.model import VoxtralTTS
from tts.voxtral.stepper import SpeechStepper

PUBLISHED = {1: (70, 0.103, 119.14), 16: (331, 0.237, 879.11), 32: (552, 0.302, 1430.78)}  # arXiv 2603.25551, table 8
SWITCH_INTERVAL_S = 0.0005  # listeners and steps share an interpreter, whose default keeps a step waiting for 5 ms


@dataclass(frozen=True)
class SpeechPlan:
    """How large, how many, how long."""

    closed: tuple[int, ...]
    open: tuple[int, ...]
    rounds: int  # utterances of each closed-loop listener
    characters: int  # of a closed-loop text, on average
    turn_characters: int  # of an open-loop text, on average
    open_s: float


async def closed_loop(speaker: RandomSpeaker, listeners: int, plan: SpeechPlan) -> dict[str, Any]:
    """So many listeners, each with one utterance after the other; lengths differ by a fifth."""
    heard = ListeningStats()
    before = asdict(speaker.stepper.counters)
    _reset_peak()

    async def listener() -> None:
        for _ in range(plan.rounds):
            await listen(speaker, round(plan.characters * speaker.chance.uniform(0.8, 1.2)), heard)

    started_s = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(listeners):
            tasks.create_task(listener())
    wall_s = time.perf_counter() - started_s
    done = _difference(speaker.stepper, before)
    batch = done["frames"] / done["frame_steps"]
    step_ms = wall_s * 1000 / done["frame_steps"]
    tokens = round(125 + plan.characters / CHARACTERS_PER_TOKEN + plan.characters / CHARACTERS_PER_S * 12.5 / 2)
    floor_ms = frame_floor_ms(H200, speaker.model, round(batch), tokens)
    return {
        "listeners": listeners, **_latency(heard), "rtf_p50": report.percentile(heard.rtf, 50),
        "characters_per_s": heard.characters / wall_s, "mean_batch": batch, "step_ms": step_ms,
        "floor_ms": floor_ms, "share_of_floor": floor_ms / step_ms, "peak_gb": _peak_gb(), **done,
    }  # fmt: skip


async def open_loop(speaker: RandomSpeaker, calls: int, plan: SpeechPlan) -> dict[str, Any]:
    """Poisson arrivals of players, about so many at a time; a third is cut at a random point."""
    heard = ListeningStats()
    before = asdict(speaker.stepper.counters)
    mean_s = plan.turn_characters / CHARACTERS_PER_S * (1 - 1 / 6)  # a third is cut half-way on average
    _reset_peak()
    started_s = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        while time.perf_counter() - started_s < plan.open_s:
            await asyncio.sleep(speaker.chance.expovariate(calls / mean_s))
            characters = round(plan.turn_characters * speaker.chance.uniform(0.5, 1.5))
            length_s = characters / CHARACTERS_PER_S
            is_cut = speaker.chance.random() < 1 / 3
            cut_after_s = speaker.chance.uniform(0, length_s) if is_cut else float("inf")
            tasks.create_task(play(speaker, characters, heard, cut_after_s))
    done = _difference(speaker.stepper, before)
    played_frames = heard.samples // speaker.model.config.codec.frame_samples
    return {
        "calls": calls, **_latency(heard), "chunks": heard.chunks, "underruns": heard.underruns,
        "stalled_s": heard.stalled_s, "cancelled": heard.cancelled, "refused": heard.refused,
        "frames_wasted": done["frames"] + done["frames_dropped"] - played_frames, "peak_gb": _peak_gb(), **done,
    }  # fmt: skip


def part_times(stepper: SpeechStepper, device: torch.device) -> list[dict[str, float]]:
    """Milliseconds of each part at each batch size, with an empty cache. On the step loop's thread."""
    rows: list[dict[str, float]] = []
    for step in stepper.steps:
        begin, *euler_steps, decode, advance = step.parts
        step.batch.select([])
        step.batch.commit([])

        def eulers(steps: Any = euler_steps) -> None:
            for step in steps:
                step()

        parts = {"begin": begin, "euler": eulers, "codec": decode, "backbone": advance}
        rows.append({"batch": step.batch.size, **{name: _mean_ms(part, device) for name, part in parts.items()}})
    return rows


def _mean_ms(work: Callable[[], None], device: torch.device) -> float:
    repeats = 20 if device.type == "cuda" else 2
    work()
    _synchronize(device)
    started_s = time.perf_counter()
    for _ in range(repeats):
        work()
    _synchronize(device)
    return (time.perf_counter() - started_s) * 1000 / repeats


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _reset_peak() -> None:
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def _peak_gb() -> float:
    return torch.cuda.max_memory_allocated() / 1e9 if torch.cuda.is_available() else 0.0


def _difference(stepper: SpeechStepper, before: dict[str, int]) -> dict[str, int]:
    return {name: value - before[name] for name, value in asdict(stepper.counters).items()}


def _latency(heard: ListeningStats) -> dict[str, float]:
    return {f"first_audio_p{p}_ms": report.percentile(heard.first_audio_ms, p) for p in (50, 95, 99)}


def _print_closed(rows: list[dict[str, Any]]) -> None:
    print("\nClosed loop, as fast as it goes; at the right the reference server on one H200 (arXiv 2603.25551)\n")
    header = ("listeners", "first audio p50/p95/p99 ms", "RTF", "char/s", "step ms", "rows", "H200 floor ms",
              "of floor", "GPU GB", "reference ms", "RTF", "char/s")  # fmt: skip
    print(report.table(header, [
        (str(row["listeners"]), _three(row), f"{row['rtf_p50']:.3f}", f"{row['characters_per_s']:.0f}",
         f"{row['step_ms']:.2f}", f"{row['mean_batch']:.1f}", f"{row['floor_ms']:.2f}", f"{row['share_of_floor']:.0%}",
         f"{row['peak_gb']:.1f}", *(f"{value:g}" for value in PUBLISHED.get(row["listeners"], ())),
         *[""] * (0 if row["listeners"] in PUBLISHED else 3))
        for row in rows
    ]))  # fmt: skip


def _print_open(rows: list[dict[str, Any]]) -> None:
    print("\nOpen loop: Poisson arrivals, players in real time, a third cut at a random point\n")
    header = ("calls", "first audio p50/p95/p99 ms", "chunks", "underruns", "stalled s", "refused", "cut",
              "frames wasted", "GPU GB")  # fmt: skip
    print(report.table(header, [
        (str(row["calls"]), _three(row), str(row["chunks"]), str(row["underruns"]), f"{row['stalled_s']:.2f}",
         str(row["refused"]), str(row["cancelled"]), str(row["frames_wasted"]), f"{row['peak_gb']:.1f}")
        for row in rows
    ]))  # fmt: skip


def _three(row: dict[str, Any]) -> str:
    return " / ".join(f"{row[f'first_audio_p{p}_ms']:.0f}" for p in (50, 95, 99))


async def measure(plan: SpeechPlan, model: VoxtralTTS, device: torch.device) -> dict[str, Any]:
    slots = max(*plan.closed, *(round(calls + 4 * calls**0.5) for calls in plan.open))
    async with speaker(model, slots) as engine:
        parts = await engine.loop.run(lambda: part_times(engine.stepper, device))
        await listen(engine, plan.turn_characters, ListeningStats())  # the first utterance warms what no graph holds
        closed = [await closed_loop(engine, listeners, plan) for listeners in plan.closed]
        opened = [await open_loop(engine, calls, plan) for calls in plan.open]
    print("\nParts of a frame step, ms\n")
    names = ("begin", "euler", "codec", "backbone")
    print(report.table(("batch", *names), [
        (str(row["batch"]), *(f"{row[name]:.2f}" for name in names)) for row in parts
    ]))  # fmt: skip
    _print_closed(closed)
    _print_open(opened)
    return {"parts_ms": parts, "closed_loop": closed, "open_loop": opened}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--tiny", action="store_true", help="a tiny model on the CPU: shows that it runs")
    parser.add_argument("--closed", default="1,8,16,32,64,128,256", help="listeners of each closed-loop level")
    parser.add_argument("--open", default="64,128,192,256", help="calls of each open-loop level")
    parser.add_argument("--seconds", type=float, default=30.0, help="length of an open-loop level")
    arguments = parser.parse_args()
    is_tiny: bool = arguments.tiny
    if not is_tiny and not torch.cuda.is_available():
        parser.error("no CUDA device here; --tiny runs on the CPU")
    if is_tiny:
        plan = SpeechPlan(closed=(1, 4), open=(4,), rounds=2, characters=60, turn_characters=40, open_s=6.0)
        device, dtype = torch.device("cpu"), torch.float32
        torch.set_num_threads(1)
    else:
        closed, opened = (tuple(map(int, text.split(","))) for text in (arguments.closed, arguments.open))
        plan = SpeechPlan(closed, opened, rounds=2, characters=500, turn_characters=120, open_s=arguments.seconds)
        device, dtype = open_device("cuda"), torch.bfloat16
    logging.basicConfig(level=logging.ERROR)  # random weights never end by themselves, and are cut with a warning
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    model = random_model(TINY if is_tiny else RELEASED, device, dtype)
    figures = {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "torch": torch.__version__, "backend": default_backend(device),
        "model": "tiny" if is_tiny else "released size, random weights",
        **asyncio.run(measure(plan, model, device)),
    }  # fmt: skip
    print(f"\nwritten: {report.write('gpu', figures, is_quick=is_tiny)}")


if __name__ == "__main__":
    main()
