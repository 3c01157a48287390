"""Callers who talk in turns, in real time, and wait for their finals; others may be spoken to meanwhile."""

import asyncio
import random
import time
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from asr.interface import SAMPLE_RATE_HZ, EngineBusy
from asr.voxtral.engine import VoxtralRecognizer
from asr.voxtral.stream import VoxtralRecognition
from asr.voxtral.timing import STEP_MS
from benchmarks.engines.speech_listeners import CHARACTERS_PER_S, ListeningStats, RandomSpeaker, play

PUSH_SAMPLES = SAMPLE_RATE_HZ * 20 // 1000
TURN_S = (2.0, 6.0)  # shortest and longest turn of a live caller
PAUSE_S = 0.5
WATCH_S = 0.02


@dataclass
class Calls:
    """What the live callers of one level found."""

    final_ms: list[float] = field(default_factory=list)
    late_ms: list[float] = field(default_factory=list)  # of the most overdue live block, looked at every WATCH_S
    refused: int = 0


async def live(
    recognizer: VoxtralRecognizer, count: int, speakers: RandomSpeaker | None, talking: int, live_s: float
) -> Calls:
    """So many callers who talk in turns, in real time, beside utterances being spoken."""
    calls = Calls()
    recognitions: list[VoxtralRecognition] = []
    async with asyncio.TaskGroup() as tasks:
        watch = tasks.create_task(_watch(recognitions, calls))
        others = [tasks.create_task(_talk(speakers)) for _ in range(talking) if speakers]
        chance = random.Random(count)
        callers = [
            tasks.create_task(_call(recognizer, recognitions, calls, random.Random(chance.random()), live_s))
            for _ in range(count)
        ]
        await asyncio.wait(callers)
        for task in (watch, *others):
            task.cancel()
    return calls


async def _call(
    recognizer: VoxtralRecognizer,
    recognitions: list[VoxtralRecognition],
    calls: Calls,
    chance: random.Random,
    live_s: float,
) -> None:
    await asyncio.sleep(chance.uniform(0, TURN_S[1]))  # callers are not in step
    block = np.random.default_rng(0).standard_normal(PUSH_SAMPLES).astype(np.float32) * 0.1
    try:
        async with recognizer.listen() as recognition:
            assert isinstance(recognition, VoxtralRecognition)
            begun_s = time.perf_counter()
            while time.perf_counter() - begun_s < live_s:
                recognitions.append(recognition)
                await _in_real_time(recognition, block, chance.uniform(*TURN_S))
                recognitions.remove(recognition)  # flushed blocks are due at once
                flushed_s = time.perf_counter()
                recognition.flush()
                async for transcript in recognition:
                    if transcript.is_final:
                        break
                calls.final_ms.append((time.perf_counter() - flushed_s) * 1000)
                await asyncio.sleep(PAUSE_S)
    except EngineBusy:
        calls.refused += 1


async def _in_real_time(recognition: VoxtralRecognition, block: NDArray[np.float32], length_s: float) -> None:
    started_s = time.perf_counter()
    for number in range(round(length_s * SAMPLE_RATE_HZ / PUSH_SAMPLES)):
        due_s = started_s + number * PUSH_SAMPLES / SAMPLE_RATE_HZ
        await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
        recognition.push(block)


async def _watch(recognitions: list[VoxtralRecognition], calls: Calls) -> None:
    """How long after its time the most overdue block still waits; a block is due 80 ms after it was complete."""
    while True:
        await asyncio.sleep(WATCH_S)
        now_s = time.monotonic()
        dues = [request.due_s for recognition in recognitions if (request := recognition._request)]
        calls.late_ms.append(max(((now_s - due_s) * 1000 for due_s in dues if due_s is not None), default=-STEP_MS))


async def _talk(speakers: RandomSpeaker) -> None:
    """One utterance after the other, played in real time."""
    while True:
        await play(speakers, round(CHARACTERS_PER_S * 8), ListeningStats(), float("inf"))
