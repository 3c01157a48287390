"""The servers under measurement, each in a process of its own, and what they cost: CPU, memory, threads, sockets."""

import asyncio
import contextlib
import os
import re
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import psutil

ROOT = Path(__file__).resolve().parent.parent.parent
START_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 15.0
LISTENING = re.compile(r"listening on (http://\S+)")
LAST_LINES = 30

# The caller speaks first, so that every call begins alike; limits stand far from what a benchmark asks for.
BENCHMARK_SETTINGS = {
    "PARLEY_AGENT__GREETING": "",
    "PARLEY_WEBRTC__LOOPBACK": "true",
    "PARLEY_WEBRTC__SIGNALLING__OFFERS_PER_MINUTE": "10000",
    "PARLEY_ADMISSION__MAX_CALLS": "64",
    "PARLEY_ADMISSION__MAX_LOOP_LAG_MS": "10000",
    "PARLEY_SERVER__DRAIN_LIMIT_S": "0",
}


class ServerFailed(RuntimeError):
    """A server did not start; the message ends with its last lines."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a server and its worker processes hold."""

    cpu_s: float
    memory_mb: float  # proportional set size: pages shared between processes count once
    threads: int
    sockets: int
    files: int
    processes: int


@dataclass(frozen=True, slots=True)
class Server:
    """A running server."""

    name: str
    url: str
    process: psutil.Process

    def usage(self) -> Usage:
        """What its process tree holds now."""
        tree = [self.process, *self.process.children(recursive=True)]
        cpu_s = memory = 0.0
        threads = sockets = files = 0
        for process in tree:
            with process.oneshot():
                times = process.cpu_times()
                cpu_s += times.user + times.system
                memory += process.memory_full_info().pss
                threads += process.num_threads()
                files += process.num_fds()
                sockets += len(process.net_connections(kind="all"))
        return Usage(cpu_s, memory / 2**20, threads, sockets, files, len(tree))

    async def metrics(self) -> dict[str, float]:
        """Every unlabeled metric of its /metrics."""
        timeout = aiohttp.ClientTimeout(total=5)
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(f"{self.url}/metrics") as response:
            response.raise_for_status()
            lines = (await response.text()).splitlines()
        pairs = (line.split(" ")[:2] for line in lines if line and not line.startswith("#") and "{" not in line)
        return {name: float(value) for name, value in pairs}


@contextlib.asynccontextmanager
async def parley(*, core: int | None = None, settings: Mapping[str, str] | None = None) -> AsyncGenerator[Server]:
    """`parley serve` with the embedded engines, pinned with its workers to one core if asked."""
    command = [sys.executable, "-m", "agent", "serve", "--port", "0", "--profile", "embedded"]
    async with _running("Parley", command, core, BENCHMARK_SETTINGS | dict(settings or {})) as server:
        yield server


@contextlib.asynccontextmanager
async def stock(*, core: int | None = None) -> AsyncGenerator[Server]:
    """The stock Pipecat bot on the same engines."""
    command = [sys.executable, "-m", "benchmarks.baseline.stock_bot", "--loopback"]
    async with _running("Stock", command, core, {}) as server:
        yield server


@contextlib.asynccontextmanager
async def fakes(*options: str, core: int | None = None) -> AsyncGenerator[Server]:
    """A chain on engines that take no time: Parley's, or what the options of `benchmarks.call.fake_server` say."""
    name = "Stock" if "stock" in options else "Parley"
    async with _running(name, [sys.executable, "-m", "benchmarks.call.fake_server", *options], core, {}) as server:
        yield server


@contextlib.asynccontextmanager
async def _running(
    name: str, command: Sequence[str], core: int | None, environment: Mapping[str, str]
) -> AsyncGenerator[Server]:
    pinned = ["taskset", "-c", str(core), *command] if core is not None else list(command)
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"  # a file, not a pipe: a server must never wait for us to read
        with log.open("wb") as sink:
            process = await asyncio.create_subprocess_exec(
                *pinned, cwd=ROOT, env=os.environ | dict(environment), stdout=sink, stderr=asyncio.subprocess.STDOUT
            )
        try:
            yield Server(name, await _address(name, process, log), psutil.Process(process.pid))
        finally:
            await _stop(process)


async def _address(name: str, process: asyncio.subprocess.Process, log: Path) -> str:
    """The address that a starting server prints, once it is ready."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while process.returncode is None and time.monotonic() < deadline:
        if found := LISTENING.search(_read(log)):
            return found[1].rstrip("/")
        await asyncio.sleep(0.05)
    last_lines = "\n".join(_read(log).splitlines()[-LAST_LINES:])
    how = "did not start in time" if process.returncode is None else f"ended with status {process.returncode}"
    raise ServerFailed(f"{name} {how}; it said:\n{last_lines}")


def _read(log: Path) -> str:
    return log.read_text(errors="replace")


async def _stop(process: asyncio.subprocess.Process) -> None:
    """End a server, and whatever of its workers it leaves behind."""
    if process.returncode is not None:
        return
    workers = psutil.Process(process.pid).children(recursive=True)
    process.terminate()
    try:
        async with asyncio.timeout(STOP_TIMEOUT_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
    for worker in workers:
        with contextlib.suppress(psutil.NoSuchProcess):
            worker.kill()
