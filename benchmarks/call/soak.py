"""Hundreds of short calls in a row, every third one gone without a word: does the server keep anything of them?

Exit status 1 if tasks, threads, sockets, files or memory grew. Run it as `python -m benchmarks.call.soak`.
"""

import argparse
import asyncio
import sys
import time
from dataclasses import asdict, dataclass

from benchmarks import report
from benchmarks.far_end import material
from benchmarks.far_end.caller import Caller
from benchmarks.far_end.servers import Server, parley

CONCURRENT_CALLS = 4
WARM_UP_CALLS = 20  # before the first reading: decoders, executors and allocator arenas are there from then on
RUDE_EVERY = 3
SETTLE_S = 12.0  # a vanished peer is given up within 10 s

# What may remain: nothing that counts calls, and as much memory as the allocator's noise.
MEMORY_GROWTH_MB = 8.0
COUNT_GROWTH = 2


@dataclass(frozen=True, slots=True)
class Holdings:
    """What the server holds while no call is in progress."""

    calls_done: int
    tasks: int
    threads: int
    sockets: int
    files: int
    memory_mb: float


async def soak(calls: int) -> list[Holdings]:
    """Hold that many calls; what the server held after the first ones, half of them and all."""
    stages = sorted({max(WARM_UP_CALLS, calls // 10), calls // 2, calls})
    async with parley() as server:
        held: list[Holdings] = []
        done = 0
        for stage in stages:
            await _hold_calls(server, range(done, stage))
            done = stage
            await _wait_until_empty(server)
            held.append(await _holdings(server, done))
            print(_line(held[-1]), flush=True)
        return held


async def _hold_calls(server: Server, numbers: range) -> None:
    pending = iter(numbers)

    async def hold_some() -> None:
        for number in pending:  # shared: each call is held by one of the tasks
            await _hold_call(server, number)

    async with asyncio.TaskGroup() as group:
        for _ in range(CONCURRENT_CALLS):
            group.create_task(hold_some())


async def _hold_call(server: Server, number: int) -> None:
    """Connect, say something, hear the beginning of the answer, and go, politely or not."""
    async with Caller(server.url) as caller:
        await caller.say(material.question(1))
        await asyncio.sleep(1.0)
        if number % RUDE_EVERY == 0:
            await caller.vanish()


async def _wait_until_empty(server: Server) -> None:
    deadline = time.monotonic() + SETTLE_S
    while (await server.metrics())["parley_calls_active"] > 0:
        if time.monotonic() > deadline:
            raise TimeoutError(f"calls are still in progress {SETTLE_S:.0f} s after the last peer has gone")
        await asyncio.sleep(0.25)
    await asyncio.sleep(1.0)  # closing transports and worker pipes take a turn of the loop or two


async def _holdings(server: Server, calls_done: int) -> Holdings:
    metrics = await server.metrics()
    usage = server.usage()
    return Holdings(
        calls_done,
        tasks=int(metrics["parley_tasks"]),
        threads=usage.threads,
        sockets=usage.sockets,
        files=usage.files,
        memory_mb=round(usage.memory_mb, 1),
    )


def growth(earlier: Holdings, later: Holdings) -> list[str]:
    """One line for each thing that grew from one reading to another.

    `main` compares the middle with the end: the allocator's arenas and the recognizer's pool take calls to fill, a leak
    goes on.
    """
    grown = [
        f"{name} grew from {getattr(earlier, name)} to {getattr(later, name)}"
        for name in ("tasks", "threads", "sockets", "files")
        if getattr(later, name) > getattr(earlier, name) + COUNT_GROWTH
    ]
    if later.memory_mb > earlier.memory_mb + MEMORY_GROWTH_MB:
        grown.append(f"memory grew from {earlier.memory_mb} to {later.memory_mb} MB")
    return grown


def _line(held: Holdings) -> str:
    return (
        f"after {held.calls_done:4d} calls: {held.tasks} tasks, {held.threads} threads, {held.sockets} sockets, "
        f"{held.files} files, {held.memory_mb} MB"
    )


def main() -> int:
    """Run it; the exit status says whether the server stayed flat."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=500, help="at least 40")
    parser.add_argument("--quick", action="store_true", help="60 calls")
    arguments = parser.parse_args()
    calls = 60 if arguments.quick else arguments.calls
    if calls < 2 * WARM_UP_CALLS:
        parser.error(f"wanted at least {2 * WARM_UP_CALLS} calls, found {calls}: the first {WARM_UP_CALLS} warm it up")
    held = asyncio.run(soak(calls))
    grown = growth(held[-2], held[-1])
    report.write(
        "soak", {"calls": calls, "holdings": [asdict(h) for h in held], "grown": grown}, is_quick=arguments.quick
    )
    print("\n".join(grown) if grown else f"flat over {calls} calls, a third of them hung up rudely")
    return 1 if grown else 0


if __name__ == "__main__":
    sys.exit(main())
