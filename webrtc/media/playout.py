"""What the caller hears: one queue of speech, sent as Opus packets every 20 ms, silence when there is none.

RTP never stops: when it does, a browser goes on inventing sound for 0.3 s.
"""

import asyncio
import logging
from fractions import Fraction

import av
import numpy as np
from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError
from av.stream import Stream
from numpy.typing import NDArray

from webrtc.interface import CallClosed
from webrtc.media.opus import PACKET_MS, RTP_RATE_HZ, SPEECH_PACKET_SAMPLES, SPEECH_RATE_HZ, OpusEncoder
from webrtc.media.pacing import Pacer
from webrtc.media.speech_queue import SpeechQueue

SAMPLE_RATE_HZ = SPEECH_RATE_HZ
MAX_LATE_S = 0.2  # what a browser's jitter buffer still makes good

_RTP_TIME_BASE = Fraction(1, RTP_RATE_HZ)
_RTP_TICKS_PER_SAMPLE = RTP_RATE_HZ // SAMPLE_RATE_HZ

logger = logging.getLogger(__name__)


class Playout(MediaStreamTrack):
    """A track that encodes by itself, so that aiortc only packs and sends.

    Whatever is asked for between two packets is heard from the next one on. Positions and counts are in samples of
    24 kHz mono since the call began.
    """

    kind = "audio"

    def __init__(self, *, capacity_ms: int, bitrate_bps: int, call_id: str) -> None:
        super().__init__()
        self._call_id = call_id
        self._queue = SpeechQueue(capacity_samples=capacity_ms * SAMPLE_RATE_HZ // 1000, sample_rate_hz=SAMPLE_RATE_HZ)
        self._encoder: OpusEncoder | None = OpusEncoder(bitrate_bps)
        self._pacer = Pacer(interval_s=PACKET_MS / 1000, max_late_s=MAX_LATE_S)
        self._clock_samples = 0
        self._advanced = asyncio.Event()

    @property
    def position_samples(self) -> int:
        """Speech handed to the sender."""
        return self._queue.position_samples

    @property
    def written_samples(self) -> int:
        """Speech accepted; after a cut, where speech ends."""
        return self._queue.written_samples

    @property
    def lead_samples(self) -> int:
        """Speech accepted and not yet handed to the sender."""
        return self._queue.waiting_samples

    @property
    def clock_samples(self) -> int:
        """Speech and silence handed to the sender: the call's clock."""
        return self._clock_samples

    @property
    def underruns(self) -> int:
        """How often speech ran dry inside an utterance."""
        return self._queue.underruns

    @property
    def stalls(self) -> int:
        """How often packets were so late that the schedule began anew."""
        return self._pacer.restarts

    def write(self, samples: NDArray[np.float32]) -> int:
        """Accept speech in [-1, 1], [S]; returns the position of its first sample.

        Raises:
            ValueError: not one channel of float32.
            BufferError: beyond the capacity; nothing was accepted.
        """
        return self._queue.write(samples)

    def finish(self) -> None:
        """The utterance is complete: running dry from here on is no underrun."""
        self._queue.finish()

    def duck(self, gain_db: float = -15.0, ramp_ms: float = 10.0) -> None:
        """Go on more quietly."""
        self._queue.set_gain(10 ** (gain_db / 20), ramp_ms=ramp_ms)

    def mute(self, ramp_ms: float = 10.0) -> None:
        """Fade to silence and wait: `resume` goes on with the next sample, `cut` drops what waits."""
        self._queue.mute(ramp_ms=ramp_ms)

    def resume(self, ramp_ms: float = 10.0) -> None:
        """Back to full loudness."""
        self._queue.set_gain(1.0, ramp_ms=ramp_ms)

    def cut(self, fade_ms: float = 10.0) -> int:
        """Fade out within the next packet and drop the rest; what is written afterwards has full loudness.

        Returns:
            The position at which speech ends.
        """
        return self._queue.cut(fade_ms=fade_ms)

    async def wait_advanced(self) -> int:
        """Wait until the next packet was handed to the sender; returns `position_samples`.

        Raises:
            CallClosed: no packet will follow.
        """
        if self.readyState == "live":
            await self._advanced.wait()
        if self.readyState != "live":
            raise CallClosed(f"call {self._call_id} is over: nothing more is played out")
        return self.position_samples

    async def recv(self) -> "av.Packet[Stream]":
        """The next packet, at the time it is due; called by aiortc's sender."""
        if self.readyState != "live":
            raise MediaStreamError
        loop = asyncio.get_running_loop()
        was_steady = not self._pacer.restarts
        due_s = self._pacer.next_due_s(loop.time())
        if was_steady and self._pacer.restarts:
            logger.warning("call %s: playout stalled for over %d ms", self._call_id, MAX_LATE_S * 1000)
        await asyncio.sleep(due_s - loop.time())
        if self._encoder is None:
            raise MediaStreamError
        packet = av.Packet(self._encoder.encode(self._queue.pop(SPEECH_PACKET_SAMPLES)))
        packet.pts = self._clock_samples * _RTP_TICKS_PER_SAMPLE
        packet.time_base = _RTP_TIME_BASE
        self._clock_samples += SPEECH_PACKET_SAMPLES
        self._advanced.set()
        self._advanced = asyncio.Event()
        return packet

    def stop(self) -> None:
        """Send nothing more. Twice is harmless."""
        super().stop()
        self._encoder = None  # PyAV's has two threads, which must not wait for the collector
        self._advanced.set()
