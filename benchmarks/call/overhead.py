"""What a chain itself takes until the reply's first packet is at the peer, with engines that take no time."""

import asyncio
import time
from typing import Literal

import aiohttp
import numpy as np

from benchmarks.call.fake_engines import FINAL_DELAY_S, TONE_S
from benchmarks.far_end import material, waveform
from benchmarks.far_end.caller import Caller
from benchmarks.far_end.servers import Server, fakes

SETTLE_S = 1.0
QUIET_S = 1.5  # after a reply

Moment = Literal["speech_ends", "finals", "first_tokens"]


async def measure(turns: int) -> list[float]:
    """From the final transcript to the first packet, in s, in that many turns of one call with Parley's chain."""
    async with fakes() as server:
        return await first_packets(server, turns, since="finals", tones=1)


async def first_packets(server: Server, turns: int, *, since: Moment, tones: int) -> list[float]:
    """From a moment of each turn to its reply's first packet, in s; turns that went unanswered are left out.

    Args:
        server: a chain on fake engines.
        turns: how many, in one call.
        since: the moment.
        tones: clauses of a reply, at most; each takes TONE_S.
    """
    reply_s = FINAL_DELAY_S + tones * TONE_S + QUIET_S
    speech_ends: list[float] = []
    async with Caller(server.url) as caller:
        await asyncio.sleep(SETTLE_S)
        for turn in range(turns):
            spoken = material.question(turn)
            speech_ends.append(await caller.say(spoken) + len(spoken) / waveform.SAMPLE_RATE_HZ)
            await asyncio.sleep(max(0.0, speech_ends[-1] + reply_s - time.monotonic()))
        recording = caller.recording()
        moments = speech_ends if since == "speech_ends" else (await _moments(server))[since]
    latencies: list[float] = []
    for moment_s, next_s in zip(moments, [*moments[1:], float("inf")], strict=True):
        onset_s = waveform.onset_s(recording, moment_s)
        if onset_s is not None and onset_s < min(next_s, moment_s + reply_s):
            packet = int(np.searchsorted(recording.arrivals_s, onset_s, side="right")) - 1
            latencies.append(float(recording.arrivals_s[packet]) - moment_s)
    return latencies


async def _moments(server: Server) -> dict[Moment, list[float]]:
    timeout = aiohttp.ClientTimeout(total=5)
    async with aiohttp.ClientSession(timeout=timeout) as session, session.get(f"{server.url}/moments") as response:
        response.raise_for_status()
        return await response.json()
