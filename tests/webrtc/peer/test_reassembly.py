"""Messages that never end, fed to aiortc's data channels as chunks; and over a whole call."""

import asyncio
import contextlib
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiortc import RTCDtlsTransport, RTCSctpTransport
from aiortc.rtcsctptransport import DataChunk

from benchmarks.far_end.caller import Caller
from tests.fakes import PATIENCE_S
from webrtc.config import WebRTCConfig
from webrtc.interface import CloseReason
from webrtc.peer.call import PeerCall
from webrtc.peer.reassembly import MIN_BOUND_BYTES, MIN_FRAGMENT_BYTES, bound_reassembly

FIRST, LAST, UNORDERED = 2, 1, 4  # flags of a DATA chunk, RFC 9260 section 3.3.1


class Far:
    """The caller's side: sends chunks, and counts the messages that they became."""

    def __init__(self) -> None:
        self.sctp = RTCSctpTransport(cast(RTCDtlsTransport, SimpleNamespace(state="new")))
        self.sctp._last_received_tsn = -1 % 2**32
        self.messages: list[bytes] = []
        self.excesses = 0
        setattr(self.sctp, "_receive", self._take)  # noqa: B010

    async def _take(self, stream_id: int, pp_id: int, data: bytes) -> None:
        self.messages.append(data)

    def exceed(self) -> None:
        self.excesses += 1

    async def send(self, tsn: int, data: bytes, *, flags: int = 0, stream_id: int = 0, stream_seq: int = 0) -> None:
        chunk = DataChunk(flags=flags)
        chunk.tsn, chunk.stream_id, chunk.stream_seq = tsn, stream_id, stream_seq
        chunk.user_data = data
        await self.sctp._receive_data_chunk(chunk)

    def waiting(self) -> int:
        return sum(len(c.user_data) for s in self.sctp._inbound_streams.values() for c in s.reassembly)


@pytest.fixture
async def far() -> Far:
    far = Far()
    for _ in range(2):  # as for a second offer
        bound_reassembly(far.sctp, MIN_BOUND_BYTES, far.exceed)
    return far


async def test_a_message_without_an_end_is_taken_up_to_the_bound_only(far: Far) -> None:
    for tsn in range(200):
        await far.send(tsn, b"x" * 1024, flags=0 if tsn else FIRST)
    assert far.excesses == 1
    assert far.waiting() == MIN_BOUND_BYTES + 1024


@pytest.mark.parametrize("streams", [1, 1000])
async def test_many_short_fragments_count_for_what_they_cost(far: Far, streams: int) -> None:
    for tsn in range(1000):
        await far.send(tsn, b"x", flags=FIRST, stream_id=tsn % streams)
    assert far.excesses == 1
    assert far.waiting() <= MIN_BOUND_BYTES // MIN_FRAGMENT_BYTES + 1


async def test_whole_messages_after_one_that_never_comes(far: Far) -> None:
    for tsn in range(1, 1000):
        await far.send(tsn, b"x", flags=FIRST | LAST | UNORDERED)
    assert far.excesses == 1
    assert len(far.sctp._sack_misordered) <= MIN_BOUND_BYTES // MIN_FRAGMENT_BYTES + 1


async def test_messages_that_end_come_through_however_many(far: Far) -> None:
    """Each of the longest length, its fragments in a bad order."""
    size = MIN_BOUND_BYTES // 4
    for n in range(20):
        for part in (1, 0, 3, 2):
            flags = {0: FIRST, 3: LAST}.get(part, 0)
            await far.send(4 * n + part, b"x" * size, flags=flags, stream_seq=n)
    assert [len(message) for message in far.messages] == [MIN_BOUND_BYTES] * 20
    assert far.excesses == 0


def test_another_version_of_aiortc_is_named() -> None:
    with pytest.raises(RuntimeError, match="pinned version of aiortc"):
        bound_reassembly(cast(Any, object()), 1, lambda: None)


@pytest.mark.usefixtures("nothing_left")
async def test_a_message_without_an_end_ends_the_call(config: WebRTCConfig) -> None:
    async with PeerCall(config) as call, Caller(call) as caller, asyncio.timeout(PATIENCE_S):
        caller.send("first")
        assert await anext(call.messages) == "first"
        sctp = caller._peer.sctp
        assert sctp is not None
        data = b"x" * 1100
        for n in range(4 * 4 * config.max_message_chars // len(data)):  # some may be lost on their way
            if call.close_reason is not None:
                break
            chunk = DataChunk(flags=0 if n else FIRST)
            chunk.tsn, chunk.stream_id, chunk.stream_seq = (sctp._local_tsn + n) % 2**32, 1, 1
            chunk.protocol, chunk.user_data = 51, data
            with contextlib.suppress(ConnectionError):  # closed meanwhile
                await sctp._send_chunk(chunk)
            await asyncio.sleep(0)
        assert await call.wait_closed() is CloseReason.ENDLESS_MESSAGE
