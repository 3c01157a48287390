"""What the caller says: packets in, as they come; frames of 20 ms at 16 kHz out, in order and in steady time.

The walk of a packet: jitter buffer, decoder, resampler, frames. Where one is missing: concealment.
"""

import asyncio
import logging
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from webrtc.config import JitterConfig
from webrtc.interface import MICROPHONE_RATE_HZ, MicrophoneFrame
from webrtc.media.concealment import Concealer
from webrtc.media.jitter import Gap, JitterBuffer, JitterStats, Packet
from webrtc.media.mailbox import Mailbox
from webrtc.media.resampling import resampler_from

FRAME_MS = 20
FRAME_SAMPLES = MICROPHONE_RATE_HZ * FRAME_MS // 1000
CONCEALMENT_FADE_MS = 60

_log = logging.getLogger(__name__)


class RtpPacket(Protocol):
    """What the microphone reads of an RTP packet (RFC 3550, section 5.1)."""

    @property
    def ssrc(self) -> int:
        """Of the stream that it belongs to."""
        ...

    @property
    def sequence_number(self) -> int:
        """16 bits."""
        ...

    @property
    def timestamp(self) -> int:
        """32 bits, in ticks of the decoder's rate."""
        ...

    @property
    def payload(self) -> bytes:
        """One encoded packet."""
        ...


class PacketDecoder(Protocol):
    """One stream's decoder."""

    @property
    def rate_hz(self) -> int:
        """Of its samples and of the stream's RTP clock."""
        ...

    def duration_ticks(self, payload: bytes) -> int:
        """How many samples a packet holds, by its header; 0 if it holds none."""
        ...

    def decode(self, payload: bytes) -> NDArray[np.float32]:
        """The packet's samples, mono in [-1, 1].

        Raises:
            ValueError: the payload is not what its header says.
        """
        ...


class PacketMicrophone:
    """See `webrtc.interface.Microphone`."""

    def __init__(self, config: JitterConfig, decoder: PacketDecoder, *, capacity_ms: int, call_id: str) -> None:
        """Hear what is in the decoder's packets.

        Args:
            config: how long to wait for packets.
            decoder: of this stream alone.
            capacity_ms: audio kept for a reader that stalls.
            call_id: for the log.

        Raises:
            ValueError: no filter leads from the decoder's rate to the microphone's.
        """
        self._call_id = call_id
        self._jitter = JitterBuffer(config, clock_hz=decoder.rate_hz)
        self._decoder = decoder
        self._resampler = resampler_from(decoder.rate_hz)
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
                _log.info("call %s: the caller's audio stream was replaced", self._call_id)
                self._jitter.restart()
            self._ssrc = packet.ssrc
        self._play(
            self._jitter.push(
                Packet(
                    sequence_number=packet.sequence_number,
                    timestamp=packet.timestamp,
                    duration_ticks=self._decoder.duration_ticks(packet.payload),
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

    def __aiter__(self) -> Self:
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
                count = item.duration_ticks * MICROPHONE_RATE_HZ // self._decoder.rate_hz
                self._append(self._concealer.conceal(count), is_concealed=True)
            else:
                self._concealer.remember(samples)
                self._append(samples, is_concealed=False)

    def _decode(self, packet: Packet) -> NDArray[np.float32] | None:
        """[S] samples at 16 kHz, or None where the payload is not what its header says."""
        try:
            samples = self._decoder.decode(packet.payload)  # at the decoder's rate
        except ValueError as error:
            self.undecodable_packets += 1
            _log.debug("call %s: an audio packet cannot be decoded: %s", self._call_id, error)
            return None
        return self._resampler.process(samples)

    def _append(self, samples: NDArray[np.float32], *, is_concealed: bool) -> None:
        self._pending = np.concatenate((self._pending, samples))
        self._pending_is_concealed |= is_concealed
        while self._pending.size >= FRAME_SAMPLES:
            frame, self._pending = self._pending[:FRAME_SAMPLES], self._pending[FRAME_SAMPLES:]
            self._frames.put(MicrophoneFrame(frame, self._position_samples, self._pending_is_concealed))
            self._position_samples += FRAME_SAMPLES
            self._pending_is_concealed = is_concealed and self._pending.size > 0
