"""From the final transcript to the reply's first packet at the peer, with engines that take no time."""

import asyncio
import time

import aiohttp
import numpy as np

from benchmarks import material, waveform
from benchmarks.caller import Caller
from benchmarks.fake_server import FINAL_DELAY_S, TONE_S
from benchmarks.servers import Server, fakes

SETTLE_S = 1.0
REPLY_S = FINAL_DELAY_S + TONE_S + 1.5  # caller's pause, final, tone, and quiet again


async def measure(turns: int) -> list[float]:
    """The latency of that many turns of one call, in s; turns that went unanswered are left out."""
    spoken = material.question(1)
    async with fakes() as server, Caller(server.url) as caller:
        await asyncio.sleep(SETTLE_S)
        for _ in range(turns):
            began_s = await caller.say(spoken)
            await asyncio.sleep(max(0.0, began_s + len(spoken) / waveform.SAMPLE_RATE_HZ + REPLY_S - time.monotonic()))
        recording = caller.recording()
        finals = await _finals(server)
    latencies: list[float] = []
    for final_s, next_s in zip(finals, [*finals[1:], float("inf")], strict=True):
        onset_s = waveform.onset_s(recording, final_s)
        if onset_s is not None and onset_s < min(next_s, final_s + REPLY_S):
            packet = int(np.searchsorted(recording.arrivals_s, onset_s, side="right")) - 1
            latencies.append(float(recording.arrivals_s[packet]) - final_s)
    return latencies


async def _finals(server: Server) -> list[float]:
    """When the recogniser handed over its finals, in order."""
    timeout = aiohttp.ClientTimeout(total=5)
    async with aiohttp.ClientSession(timeout=timeout) as session, session.get(f"{server.url}/finals") as response:
        response.raise_for_status()
        return await response.json()
