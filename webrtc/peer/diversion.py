"""Where aiortc's receive path is bypassed.

Its own (a jitter buffer of four packets, a decoder thread, an unbounded queue) adds 80 ms to every call, and 200 ms
more for ever after one lost packet.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from aiortc import RTCRtpReceiver
from aiortc.rtp import RtpPacket


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
