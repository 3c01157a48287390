"""Every kind of call: what the caller hears is what was written, once and in order, as it was asked to sound."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.far_end import tracking
from tests.fakes import PATIENCE_S
from tests.fakes.line import FarEnd, Line
from webrtc.config import WebRTCConfig
from webrtc.interface import Call, Playout

pytestmark = pytest.mark.usefixtures("nothing_left")

PACKET_SAMPLES = 480
SAMPLES_PER_MS = 24
SPLICE_SAMPLES = 12 * SAMPLES_PER_MS  # two ramps, and what Opus blurs; less than a packet


@asynccontextmanager
async def connected(line: Line, config: WebRTCConfig) -> AsyncGenerator[tuple[Call, FarEnd]]:
    async with asyncio.timeout(PATIENCE_S), line.new_call(config) as call, line.join(call) as far_end:
        await call.wait_connected()
        yield call, far_end


def speech(seconds: float) -> NDArray[np.float32]:
    """Noise up to 1.5 kHz, of which no two stretches are alike."""
    rng = np.random.default_rng(0)
    count = round(24_000 * seconds)
    return np.interp(np.arange(count), np.arange(0, count + 8, 8), rng.normal(0, 0.1, count // 8 + 1)).astype(
        np.float32
    )


async def play(playout: Playout, packets: int) -> None:
    """Until so many packets more were sent; the counts must be true at each of them."""
    before = playout.position_samples
    for _ in range(packets):
        position = await playout.wait_advanced()
        assert position == playout.position_samples
        assert 0 <= position - before <= PACKET_SAMPLES
        assert playout.written_samples - position == playout.lead_samples
        before = position


async def play_out(playout: Playout) -> None:
    """Until all that was written was sent, and had the time to arrive."""
    while playout.lead_samples:
        await play(playout, 1)
    await play(playout, 8)


def place(wanted: NDArray[np.float32], heard: NDArray[np.float32]) -> int:
    """Where `wanted` begins in what was heard; it must be there."""
    start, correlation = tracking.find(wanted, heard)
    assert correlation > 0.9
    return start


async def test_all_that_is_written_is_heard_once_and_in_order(line: Line, config: WebRTCConfig) -> None:
    spoken = speech(0.6)
    async with connected(line, config) as (call, far_end):
        written = 0
        for chunk in np.split(spoken, [1, 500, 999, 5_000, 5_001]):
            assert call.playout.write(chunk) == written
            written += chunk.size
        call.playout.finish()
        await play_out(call.playout)
        heard = far_end.heard()
        assert call.playout.position_samples == call.playout.written_samples == spoken.size
        assert call.playout.underruns == 0
    thirds = np.split(spoken, 3)
    starts = [place(third, heard) for third in thirds]
    assert np.diff(starts) == pytest.approx([thirds[0].size] * 2, abs=SAMPLES_PER_MS)


async def test_silence_is_sent_and_not_counted(line: Line, config: WebRTCConfig) -> None:
    async with connected(line, config) as (call, far_end):
        await play(call.playout, 10)
        assert call.playout.position_samples == call.playout.written_samples == 0
        await play(call.playout, 10)  # to arrive
        assert far_end.heard().size >= 10 * PACKET_SAMPLES
        assert np.abs(far_end.heard()).max() < 0.01


async def test_muted_speech_waits_and_goes_on_with_the_next_sample(line: Line, config: WebRTCConfig) -> None:
    spoken = speech(0.6)
    async with connected(line, config) as (call, far_end):
        call.playout.write(spoken)
        call.playout.finish()
        await play(call.playout, 12)
        before = call.playout.position_samples
        call.playout.mute()
        await play(call.playout, 1)
        muted_at = call.playout.position_samples
        assert muted_at - before == 240  # the fade of 10 ms
        await play(call.playout, 14)
        assert call.playout.position_samples == muted_at
        call.playout.resume()
        await play_out(call.playout)
        heard = far_end.heard()
        assert call.playout.position_samples == spoken.size
    split_at = muted_at
    first, second = spoken[: split_at - SPLICE_SAMPLES], spoken[split_at + SPLICE_SAMPLES :]
    pause_samples = place(second, heard) - place(first, heard) - first.size - 2 * SPLICE_SAMPLES
    assert pause_samples == pytest.approx(14.5 * PACKET_SAMPLES, abs=SAMPLES_PER_MS)
    silent = heard[place(first, heard) + split_at + 2 * PACKET_SAMPLES :][: 10 * PACKET_SAMPLES]
    assert np.abs(silent).max() < 0.01


async def test_ducked_speech_goes_on_quietly_without_a_splice(line: Line, config: WebRTCConfig) -> None:
    spoken = speech(0.8)
    async with connected(line, config) as (call, far_end):
        call.playout.write(spoken)
        await play(call.playout, 10)
        ducked_at = call.playout.position_samples
        call.playout.duck(gain_db=-20)
        await play(call.playout, 15)
        assert call.playout.position_samples == ducked_at + 15 * PACKET_SAMPLES
        resumed_at = call.playout.position_samples
        call.playout.resume()
        await play_out(call.playout)
        heard = far_end.heard()
    start = place(spoken[:ducked_at], heard)
    assert place(spoken[resumed_at + 480 :], heard) - start == pytest.approx(resumed_at + 480, abs=SAMPLES_PER_MS)

    def level_db(first: int, last: int) -> float:
        rms = [float(np.sqrt(np.mean(x[first:last] ** 2))) for x in (heard[start:], spoken)]
        return 20 * np.log10(rms[0] / rms[1])

    assert level_db(0, ducked_at) == pytest.approx(0, abs=1)
    assert level_db(ducked_at + 960, resumed_at) == pytest.approx(-20, abs=2)
    assert level_db(resumed_at + 960, spoken.size - 480) == pytest.approx(0, abs=1)


async def test_a_cut_ends_speech_within_a_packet_and_the_next_is_loud(line: Line, config: WebRTCConfig) -> None:
    spoken = speech(2.0)
    for quieten in ("duck", "mute", None):
        async with connected(line, config) as (call, far_end):
            call.playout.write(spoken)
            await play(call.playout, 8)
            if quieten:
                getattr(call.playout, quieten)()
                await play(call.playout, 4)
            before = call.playout.position_samples
            end = call.playout.cut()
            assert end == call.playout.written_samples
            assert 0 <= end - before <= 240
            await play(call.playout, 15)
            assert call.playout.position_samples == end
            assert call.playout.underruns == 0
            next_words = spoken[-9_600:]
            assert call.playout.write(next_words) == end
            call.playout.finish()
            await play_out(call.playout)
            heard = far_end.heard()
        at = place(next_words, heard)
        assert np.std(heard[at : at + next_words.size]) == pytest.approx(np.std(next_words), rel=0.1)
        between = heard[at - 10 * PACKET_SAMPLES : at - PACKET_SAMPLES]
        assert np.abs(between).max() < 0.01, quieten


async def test_what_is_not_speech_or_too_much_is_refused_whole(line: Line, config: WebRTCConfig) -> None:
    async with line.new_call(config.model_copy(update={"playout_capacity_ms": 100})) as call:
        wrong: list[Any] = [np.zeros(480, np.int16), np.zeros((1, 480), np.float32), np.zeros(480, np.float64)]
        for samples in wrong:
            with pytest.raises(ValueError, match="one channel of float32"):
                call.playout.write(samples)
        call.playout.write(np.zeros(2_000, np.float32))
        with pytest.raises(BufferError, match="no room"):
            call.playout.write(np.zeros(401, np.float32))
        assert call.playout.written_samples == 2_000
        assert call.playout.write(np.zeros(400, np.float32)) == 2_000


async def test_running_dry_counts_once_and_only_inside_an_utterance(line: Line, config: WebRTCConfig) -> None:
    async with connected(line, config) as (call, _):
        call.playout.write(np.zeros(700, np.float32))
        await play(call.playout, 5)
        assert call.playout.underruns == 1
        call.playout.write(np.zeros(700, np.float32))
        call.playout.finish()
        await play(call.playout, 5)
        assert call.playout.underruns == 1
