"""A bound on what a caller may leave unfinished on its data channels.

aiortc keeps the fragments of a message until the last one comes, however many there are, and looks through them all
for each further one.
"""

from collections.abc import Awaitable, Callable

from aiortc import RTCSctpTransport
from aiortc.rtcsctptransport import DataChunk, InboundStream

# What a fragment counts at least. Those of honest callers fill a packet of 1200 bytes; a longer list of shorter ones
# costs more to look through than its bytes tell.
MIN_FRAGMENT_BYTES = 512
# However short messages may be, whole ones wait as well, for a lost packet before them.
MIN_BOUND_BYTES = 65_536

_RECEIVE = "_receive_data_chunk"
_STREAMS = "_inbound_streams"
_MISORDERED = "_sack_misordered"


class _Guard:
    def __init__(self, sctp: RTCSctpTransport, max_bytes: int, on_excess: Callable[[], None]) -> None:
        self._sctp = sctp
        self._receive: Callable[[DataChunk], Awaitable[None]] = getattr(sctp, _RECEIVE)
        self._streams: dict[int, InboundStream] = getattr(sctp, _STREAMS)
        self._max_bytes = max(max_bytes, MIN_BOUND_BYTES)
        self._on_excess = on_excess
        self._unfinished: set[int] = set()  # streams with fragments that wait
        self._is_exceeded = False

    async def __call__(self, chunk: DataChunk) -> None:
        if self._is_exceeded:
            return
        await self._receive(chunk)
        self._unfinished.add(chunk.stream_id)
        if self._waiting_bytes() > self._max_bytes:
            self._is_exceeded = True
            self._on_excess()

    def _waiting_bytes(self) -> int:
        waiting = 0
        for stream_id in tuple(self._unfinished):
            stream = self._streams.get(stream_id)
            if stream is None or not stream.reassembly:
                self._unfinished.discard(stream_id)
                continue
            waiting += sum(max(len(chunk.user_data), MIN_FRAGMENT_BYTES) for chunk in stream.reassembly)
        # Whole messages that came before others are given out at once if they may, and remembered by number.
        return max(waiting, MIN_FRAGMENT_BYTES * len(getattr(self._sctp, _MISORDERED)))


def bound_reassembly(sctp: RTCSctpTransport, max_bytes: int, on_excess: Callable[[], None]) -> None:
    """Have `on_excess` called once when more than `max_bytes` wait for the rest of their messages; twice is harmless.

    From then on nothing more is taken. The attributes are private to aiortc, whose version is pinned for them.

    Raises:
        RuntimeError: this version of aiortc has no such attributes.
    """
    for name in (_RECEIVE, _STREAMS, _MISORDERED):
        if not hasattr(sctp, name):
            raise RuntimeError(f"aiortc's data channels have no {name}; install the pinned version of aiortc")
    if not isinstance(getattr(sctp, _RECEIVE), _Guard):
        setattr(sctp, _RECEIVE, _Guard(sctp, max_bytes, on_excess))
