"""The playout as aiortc's sender takes it: a track that encodes by itself, so that aiortc only packs and sends."""

from fractions import Fraction

import av
from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError
from av.stream import Stream

from webrtc.interface import CallClosed
from webrtc.media.opus import PACKET_TICKS, RTP_RATE_HZ, OpusEncoder
from webrtc.media.playout import PacedPlayout

_RTP_TIME_BASE = Fraction(1, RTP_RATE_HZ)


class PlayoutTrack(MediaStreamTrack):
    """Opus packets of 20 ms, each when it is due."""

    kind = "audio"

    def __init__(self, playout: PacedPlayout, *, bitrate_bps: int) -> None:
        super().__init__()
        self._playout = playout
        self._encoder: OpusEncoder | None = OpusEncoder(bitrate_bps)
        self._timestamp = 0

    async def recv(self) -> "av.Packet[Stream]":
        """The next packet, at the time it is due; called by aiortc's sender.

        Raises:
            MediaStreamError: none will follow.
        """
        try:
            block = await self._playout.next_block()
        except CallClosed as error:
            raise MediaStreamError from error
        if self._encoder is None:
            raise MediaStreamError
        packet = av.Packet(self._encoder.encode(block))
        packet.pts = self._timestamp
        packet.time_base = _RTP_TIME_BASE
        self._timestamp += PACKET_TICKS
        return packet

    def stop(self) -> None:
        """Send nothing more. Twice is harmless."""
        super().stop()
        self._playout.close()
        self._encoder = None  # PyAV's has two threads, which must not wait for the collector
