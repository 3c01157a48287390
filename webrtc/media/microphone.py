"""What the caller says, as 20 ms frames of 16 kHz mono in steady time.

aiortc's own receive path (a jitter buffer of four packets, a decoder thread, an unbounded queue) is bypassed: it
adds 80 ms to every call and 200 ms more for ever after one lost packet.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from aiortc import RTCRtpReceiver
from aiortc.rtp import RtpPacket
from av.error import FFmpegError
from numpy.typing import NDArray

from webrtc.config import JitterConfig
from webrtc.interface import MICROPHONE_RATE_HZ, MicrophoneFrame
from webrtc.media.concealment import Concealer
from webrtc.media.jitter import Gap, JitterBuffer, JitterStats, Packet
from webrtc.media.mailbox import Mailbox
from webrtc.media.opus import OpusDecoder, packet_duration_ticks
from webrtc.media.resampling import FACTOR, Decimator

FRAME_MS = 20
FRAME_SAMPLES = MICROPHONE_RATE_HZ * FRAME_MS // 1000
CONCEALMENT_FADE_MS = 60

logger = logging.getLogger(__name__)


class Microphone:
    """An async iterator of MicrophoneFrame that ends with the call; for one reader.

    When the reader stalls the oldest frames are dropped and counted.
    """

    def __init__(self, config: JitterConfig, *, capacity_ms: int, call_id: str) -> None:
        self._call_id = call_id
        self._jitter = JitterBuffer(config)
        self._decoder = OpusDecoder()
        self._decimator = Decimator()
        self._concealer = Concealer(
            memory_samples=FRAME_SAMPLES, fade_samples=MICROPHONE_RATE_HZ * CONCEALMENT_FADE_MS // 1000
        )
        self._frames: Mailbox[MicrophoneFrame] = Mailbox(max(1, capacity_ms // FRAME_MS))
        self._pending = np.empty(0, np.float32)
        self._pending_is_concealed = False
        self._position_samples = 0
        self._ssrc: int | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_closed = False
        self.last_packet_s: float | None = None  # on the event loop's clock
        self.undecodable_packets = 0

    @property
    def stats(self) -> JitterStats:
        """What the network did to the packets."""
        return self._jitter.stats

    @property
    def dropped_frames(self) -> int:
        """Frames that the reader was too slow for."""
        return self._frames.dropped

    def receive(self, packet: RtpPacket) -> None:
        """Take a packet of the caller's audio stream; called by the transport."""
        if self._is_closed:
            return
        now_s = asyncio.get_running_loop().time()
        self.last_packet_s = now_s
        if packet.ssrc != self._ssrc:
            # Another stream's sequence numbers have nothing to do with the last one's.
            if self._ssrc is not None:
                logger.info("call %s: the caller's audio stream was replaced", self._call_id)
                self._jitter.restart()
            self._ssrc = packet.ssrc
        self._play(
            self._jitter.push(
                Packet(
                    sequence_number=packet.sequence_number,
                    timestamp=packet.timestamp,
                    duration_ticks=packet_duration_ticks(packet.payload),
                    payload=packet.payload,
                ),
                now_s,
            )
        )
        self._arm()

    def close(self) -> None:
        """End the iteration once the reader has taken what is left. Twice is harmless."""
        self._is_closed = True
        self._frames.close()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def __aiter__(self) -> "Microphone":
        return self

    async def __anext__(self) -> MicrophoneFrame:
        return await anext(self._frames)

    def _arm(self) -> None:
        """Have a timer run no later than the jitter buffer's deadline; one that runs too early arms itself again."""
        deadline_s = self._jitter.deadline_s
        if deadline_s is None or (self._timer is not None and self._timer.when() <= deadline_s):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(deadline_s, self._expire)

    def _expire(self) -> None:
        self._timer = None
        self._play(self._jitter.expire(asyncio.get_running_loop().time()))
        self._arm()

    def _play(self, items: list[Packet | Gap]) -> None:
        for item in items:
            samples = self._decode(item) if isinstance(item, Packet) else None  # [S]
            if samples is None:
                count = item.duration_ticks // FACTOR
                self._append(self._concealer.conceal(count), is_concealed=True)
            else:
                self._concealer.remember(samples)
                self._append(samples, is_concealed=False)

    def _decode(self, packet: Packet) -> NDArray[np.float32] | None:
        """[S] samples at 16 kHz, or None where the payload is not what its header says."""
        try:
            samples = self._decoder.decode(packet.payload)  # [3 S], 48 kHz
        except (FFmpegError, ValueError) as error:
            self.undecodable_packets += 1
            logger.debug("call %s: an audio packet cannot be decoded: %s", self._call_id, error)
            return None
        return self._decimator.process(samples)

    def _append(self, samples: NDArray[np.float32], *, is_concealed: bool) -> None:
        self._pending = np.concatenate((self._pending, samples))
        self._pending_is_concealed |= is_concealed
        while self._pending.size >= FRAME_SAMPLES:
            frame, self._pending = self._pending[:FRAME_SAMPLES], self._pending[FRAME_SAMPLES:]
            self._frames.put(MicrophoneFrame(frame, self._position_samples, self._pending_is_concealed))
            self._position_samples += FRAME_SAMPLES
            self._pending_is_concealed = is_concealed and self._pending.size > 0


class PacketSink(Protocol):
    """What aiortc's receiver asks of its jitter buffer."""

    def add(self, packet: RtpPacket) -> tuple[bool, None]:
        """Take a packet; (no picture loss, no frame to decode)."""
        ...


@dataclass(frozen=True, slots=True)
class _Diversion:
    deliver: Callable[[RtpPacket], None]

    def add(self, packet: RtpPacket) -> tuple[bool, None]:
        self.deliver(packet)
        return False, None


_RECEIVER_BUFFER = "_RTCRtpReceiver__jitter_buffer"


def divert_packets(receiver: RTCRtpReceiver, deliver: Callable[[RtpPacket], None]) -> None:
    """Have `receiver` hand each packet of audio to `deliver` on arrival, and decode nothing itself.

    Its statistics and RTCP go on as before. The attribute is private to aiortc, whose version is pinned for it.

    Raises:
        RuntimeError: this version of aiortc has no such attribute.
    """
    if not hasattr(receiver, _RECEIVER_BUFFER):
        raise RuntimeError(f"aiortc's receiver has no {_RECEIVER_BUFFER}; install the pinned version of aiortc")
    sink: PacketSink = _Diversion(deliver)
    setattr(receiver, _RECEIVER_BUFFER, sink)
