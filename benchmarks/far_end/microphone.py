"""A caller's microphone: speech encoded beforehand, sent in real time, silence between."""

import asyncio
import functools
import time
from collections import deque
from fractions import Fraction
from typing import cast

import av
import numpy as np
from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError
from av.stream import Stream
from numpy.typing import NDArray

from benchmarks.far_end.waveform import SAMPLE_RATE_HZ
from webrtc.media.opus import AvEncoder

BITRATE_BPS = 32_000  # what Chromium sends for one channel of speech
PACKET_MS = 20

_RTP_TIME_BASE = Fraction(1, SAMPLE_RATE_HZ)


def encode(
    samples: NDArray[np.float32], *, sample_rate_hz: int = SAMPLE_RATE_HZ, packet_ms: int = PACKET_MS, channels: int = 1
) -> list[bytes]:
    """Opus packets of `samples` ([S], one channel in [-1, 1]), the last one padded with silence.

    Encoded as a browser does: `voip` mode, 6.5 ms of look-ahead. More channels are copies of the one.
    """
    if samples.ndim != 1 or samples.dtype != np.float32:
        raise ValueError(f"speech must be one channel of float32, not {samples.dtype} of shape {samples.shape}")
    codec = av.CodecContext.create("libopus", "w")
    codec.format = "flt"
    codec.layout = "mono" if channels == 1 else "stereo"
    codec.sample_rate = sample_rate_hz
    codec.time_base = Fraction(1, sample_rate_hz)
    codec.bit_rate = BITRATE_BPS * channels
    codec.options = {"application": "voip", "frame_duration": str(packet_ms)}
    encoder = cast(AvEncoder, codec)
    packet_samples = sample_rate_hz * packet_ms // 1000
    padded = np.pad(samples, (0, -len(samples) % packet_samples))
    packets: list[bytes] = []
    for start in range(0, len(padded), packet_samples):
        block = np.repeat(padded[start : start + packet_samples], channels)  # interleaved
        frame = av.AudioFrame(format="flt", layout=codec.layout.name, samples=packet_samples)
        frame.planes[0].update(block.tobytes())
        frame.sample_rate = sample_rate_hz
        packets.extend(bytes(packet) for packet in encoder.encode(frame))
    return packets


@functools.cache
def _silence(packet_ms: int) -> bytes:
    return encode(np.zeros(SAMPLE_RATE_HZ // 2, np.float32), packet_ms=packet_ms)[-1]


class ScriptedMicrophone(MediaStreamTrack):
    """Sends packets of silence until there is something to say."""

    kind = "audio"

    def __init__(self, packet_ms: int) -> None:
        super().__init__()
        self._packet_ms = packet_ms
        self._utterances: deque[tuple[deque[bytes], asyncio.Future[float]]] = deque()
        self._start_s: float | None = None
        self._sent = 0

    def say(self, packets: list[bytes]) -> asyncio.Future[float]:
        """When the first of these packets leaves, CLOCK_MONOTONIC, is known as it does; they wait for those before."""
        began: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._utterances.append((deque(packets), began))
        return began

    def stop_speaking(self) -> None:
        """Drop what has not been said."""
        for _, began in self._utterances:
            if not began.done():
                began.cancel()
        self._utterances.clear()

    async def recv(self) -> "av.Packet[Stream]":
        if self.readyState != "live":
            raise MediaStreamError
        now_s = time.monotonic()
        if self._start_s is None:
            self._start_s = now_s
        await asyncio.sleep(self._start_s + self._sent * self._packet_ms / 1000 - now_s)
        packet = av.Packet(self._next_payload())
        packet.pts = self._sent * self._packet_ms * SAMPLE_RATE_HZ // 1000
        packet.time_base = _RTP_TIME_BASE
        self._sent += 1
        return packet

    def _next_payload(self) -> bytes:
        if not self._utterances:
            return _silence(self._packet_ms)
        packets, began = self._utterances[0]
        if not began.done():
            began.set_result(time.monotonic())
        payload = packets.popleft()
        if not packets:
            self._utterances.popleft()
        return payload

    def stop(self) -> None:
        super().stop()
        self.stop_speaking()
