"""How many talking calls one core carries: CPU, late packets, loop lag and memory, Parley beside the stock bot.

The server and its worker processes share core 0, the callers run on core 1. Every caller asks for a story and hears it
for the length of the window. Each number of calls gets a fresh server. Run it as `python -m benchmarks.call.capacity`.
"""

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from benchmarks import report
from benchmarks.far_end import material, waveform
from benchmarks.far_end.caller import Caller
from benchmarks.far_end.microphone import encode
from benchmarks.far_end.servers import Server, parley, stock
from benchmarks.far_end.waveform import Recording

SERVER_CORE, CALLER_CORE = 0, 1
STAGGER_S = 0.4  # between one caller and the next: a crowd that asks in the same instant is another benchmark
SETTLE_S = 4.0
WINDOW_S = 14.0
OURS, THEIRS = (1, 4, 8, 12, 16), (1, 4, 8, 12)
QUICK = (1, 4)
LONGEST_PAUSE_S = 1.5


@dataclass(frozen=True, slots=True)
class Load:
    """What one number of calls cost and what the callers heard."""

    server: str
    calls: int
    talking: int  # calls in which the agent was heard all the time, as it should be
    cpu_percent: float  # of one core, the server with its workers
    late_percent: float  # packets more than 60 ms behind their schedule
    worst_late_ms: float
    loop_lag_p99_ms: float | None  # the server's own view, where it has one
    memory_mb: float  # proportional set size of the process tree, while all calls are on


async def load(start: Callable[..., AbstractAsyncContextManager[Server]], calls: int) -> Load:
    """Hold that many calls with a fresh server on its core."""
    request = encode(material.sentence(material.STORY))
    async with start(core=SERVER_CORE) as server, AsyncExitStack() as stack:
        callers: list[Caller] = []
        for _ in range(calls):
            callers.append(await stack.enter_async_context(Caller(server.url)))
            await asyncio.sleep(STAGGER_S)
        for caller in callers:
            await caller.say_packets(request)
            await asyncio.sleep(STAGGER_S)
        await asyncio.sleep(SETTLE_S)
        before, began_s = server.usage(), time.monotonic()
        await asyncio.sleep(WINDOW_S)
        after, ended_s = server.usage(), time.monotonic()
        lag_s = (await server.metrics())["parley_loop_lag_p99_seconds"] if start is parley else None
    heard = [caller.recording().between(began_s, ended_s) for caller in callers]
    late = np.concatenate([waveform.lateness_s(recording) for recording in heard])
    return Load(
        server.name,
        calls,
        talking=sum(_is_talking(recording) for recording in heard),
        cpu_percent=round(100 * (after.cpu_s - before.cpu_s) / (ended_s - began_s), 1),
        late_percent=round(100 * float(np.mean(late > waveform.LATE_S)), 2),
        worst_late_ms=round(1000 * float(late.max()), 1),
        loop_lag_p99_ms=None if lag_s is None else round(1000 * lag_s, 1),
        memory_mb=round(after.memory_mb, 1),
    )


def _is_talking(heard: Recording) -> bool:
    """Whether the agent spoke throughout: no pause longer than one between sentences."""
    return max((s.duration_s for s in waveform.silences(heard.samples, 0.0)), default=0.0) < LONGEST_PAUSE_S


def megabytes_per_call(loads: Sequence[Load]) -> float | None:
    """Slope of memory over the number of calls, by least squares; None for fewer than two numbers of calls."""
    if len({load.calls for load in loads}) < 2:
        return None
    slope, _ = np.polyfit([load.calls for load in loads], [load.memory_mb for load in loads], 1)
    return round(float(slope), 2)


def tabulate(loads: Sequence[Load]) -> str:
    """One line for each number of calls."""
    header = ["server", "calls", "heard", "CPU %", "late %", "worst ms", "loop lag p99 ms", "memory MB"]
    rows = [
        [
            load.server,
            f"{load.calls}",
            f"{load.talking}",
            f"{load.cpu_percent:.0f}",
            f"{load.late_percent:.2f}",
            f"{load.worst_late_ms:.0f}",
            "-" if load.loop_lag_p99_ms is None else f"{load.loop_lag_p99_ms:.1f}",
            f"{load.memory_mb:.0f}",
        ]
        for load in loads
    ]
    return report.table(header, rows)


async def measure(is_quick: bool) -> list[Load]:
    """Every number of calls with each server."""
    plan = [(parley, calls) for calls in (QUICK if is_quick else OURS)]
    plan += [(stock, calls) for calls in (QUICK if is_quick else THEIRS)]
    loads: list[Load] = []
    for start, calls in plan:
        loads.append(await load(start, calls))
        print(tabulate(loads[-1:]).splitlines()[-1], file=sys.stderr, flush=True)
    return loads


def main() -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="1 and 4 calls only")
    arguments = parser.parse_args()
    if (os.cpu_count() or 1) < 2:
        parser.error("wanted two cores, one for the server and one for the callers; this machine has one")
    os.sched_setaffinity(0, {CALLER_CORE})
    loads = asyncio.run(measure(arguments.quick))
    slopes: dict[str, Any] = {
        name: megabytes_per_call([load for load in loads if load.server == name])
        for name in dict.fromkeys(load.server for load in loads)
    }
    print(tabulate(loads))
    print("memory per call, MB: " + ", ".join(f"{name} {slope}" for name, slope in slopes.items()))
    record = {"loads": [asdict(load) for load in loads], "megabytes_per_call": slopes}
    print(f"written to {report.write('capacity', record, is_quick=arguments.quick)}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
