"""A call over one peer connection: answered, entered and left.

::

    call = PeerCall(config)
    answer = await call.answer(offer)  # goes back to the caller
    async with call:
        await call.wait_connected()
        async for frame in call.microphone: ...
"""

import asyncio
import logging
import secrets
from collections.abc import Callable
from types import TracebackType
from typing import Self

from webrtc.config import WebRTCConfig
from webrtc.interface import (
    CallClosed,
    CallError,
    CallStats,
    CandidateRejected,
    CloseReason,
    NotConnected,
    RestartRefused,
)
from webrtc.media.mailbox import Mailbox
from webrtc.media.microphone import PacketMicrophone
from webrtc.media.opus import OpusDecoder
from webrtc.media.playout import PacedPlayout
from webrtc.peer.connection import Candidate, add_candidate, close_peer, negotiate, new_peer
from webrtc.peer.loopback import offer_loopback
from webrtc.peer.messages import Messages
from webrtc.peer.offer import MAX_CANDIDATES, OfferedConnection, SessionDescription, check_offer
from webrtc.peer.track import PlayoutTrack

MAX_UTF8_BYTES = 4  # of one character

_log = logging.getLogger(__name__)


class PeerCall:
    """See `webrtc.interface.Call`. Leaving the context takes the peer connection down, whatever its state."""

    def __init__(self, config: WebRTCConfig) -> None:
        self.id = secrets.token_hex(16)
        self.microphone = PacketMicrophone(
            config.jitter, OpusDecoder(), capacity_ms=config.microphone_capacity_ms, call_id=self.id
        )
        self.playout = PacedPlayout(capacity_ms=config.playout_capacity_ms, call_id=self.id)
        self._track = PlayoutTrack(self.playout, bitrate_bps=config.bitrate_bps)
        self._messages = Messages(capacity=config.message_capacity, max_chars=config.max_message_chars, call_id=self.id)
        self._config = config
        self._negotiation = asyncio.Lock()
        self._connection: OfferedConnection | None = None
        self._candidates = 0
        self._watchdog: asyncio.TimerHandle | None = None
        self._deadline_s: float | None = None  # to be connected
        self._connected_s: float | None = None
        self._is_entered = False
        self._connected_or_closed = asyncio.Event()
        self._closed = asyncio.Event()
        self._close_reason: CloseReason | None = None
        self._when_closed: list[Callable[[], object]] = []
        self._takedown: asyncio.Future[None] | None = None
        if config.loopback:
            offer_loopback()
        self._peer = new_peer(config, self._track, self.microphone)
        self._peer.on("connectionstatechange", self._on_connection_state)
        self._peer.on("datachannel", self._messages.attach)

    async def __aenter__(self) -> Self:
        self._is_entered = True
        self._watch()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def messages(self) -> Mailbox[str]:
        """What the caller's page sends: an async iterator that ends with the call."""
        return self._messages.inbox

    @property
    def close_reason(self) -> CloseReason | None:
        """Why the call ended; None while it lasts."""
        return self._close_reason

    @property
    def stats(self) -> CallStats:
        """What became of the packets so far."""
        received = self.microphone.stats
        return CallStats(late_packets=received.late, lost_packets=received.lost, stalls=self.playout.stalls)

    async def answer(self, offer: SessionDescription) -> SessionDescription:
        """The answer to an offer; a later offer of the same connection renegotiates it.

        Raises:
            OfferRejected: with one line that says why; a call that was answered before goes on.
            CallClosed: the call is over.
            CallError: no answer within the configured time.
        """
        connection = check_offer(offer)
        max_bytes = self._config.max_message_chars * MAX_UTF8_BYTES
        async with self._negotiation:
            self._check_open()
            if self._connection not in (None, connection):
                raise RestartRefused("the offer is from another connection; start a new call for it")
            try:
                async with asyncio.timeout(self._config.answer_timeout_s):
                    answer = await negotiate(
                        self._peer, offer, max_bytes, lambda: self._end(CloseReason.ENDLESS_MESSAGE)
                    )
            except TimeoutError:
                raise CallError(
                    f"no answer within {self._config.answer_timeout_s:g} s; check that the STUN and TURN servers answer"
                ) from None
            self._connection = connection
        self._watch()
        return answer

    async def add_candidate(self, candidate: Candidate) -> None:
        """Take a candidate that follows the offer.

        Raises:
            CandidateRejected: not a candidate, one too many, or before the offer.
            CallClosed: the call is over.
        """
        self._check_open()
        if self._connection is None:
            raise CandidateRejected("a candidate came before the offer that it belongs to")
        self._candidates += 1
        if self._candidates > MAX_CANDIDATES:
            raise CandidateRejected(f"the caller has sent more than {MAX_CANDIDATES} candidates")
        await add_candidate(self._peer, candidate)

    async def wait_connected(self) -> None:
        """Wait until audio can flow.

        Raises:
            NotConnected: the call ended first, at the latest after the configured time.
        """
        self._watch()
        await self._connected_or_closed.wait()
        if self._close_reason is not None:
            raise NotConnected(f"call {self.id} is not connected: {self._close_reason.value}")

    async def wait_closed(self) -> CloseReason:
        """Wait until the call is over: by either side, or because the connection was lost or went silent."""
        await self._closed.wait()
        assert self._close_reason is not None
        return self._close_reason

    def when_closed(self, callback: Callable[[], object]) -> None:
        """Have `callback` called once, when the call is over."""
        if self._close_reason is not None:
            callback()
        else:
            self._when_closed.append(callback)

    def send(self, message: str) -> None:
        """Send a message to the caller's page; kept until the data channel opens, then the oldest are dropped."""
        self._messages.send(message)

    async def close(self) -> None:
        """Hang up and free everything. Twice is harmless."""
        self._end(CloseReason.CLOSED)
        assert self._takedown is not None
        await asyncio.shield(self._takedown)

    def _watch(self) -> None:
        """Close the call when it has not connected in time, or later when no packet has come for too long."""
        if self._close_reason is not None:
            return
        now_s = asyncio.get_running_loop().time()
        if self._deadline_s is None:
            self._deadline_s = now_s + self._config.connect_timeout_s
        if self._connected_s is None:
            deadline_s, reason = self._deadline_s, CloseReason.NOT_CONNECTED
        elif not self._is_entered:
            deadline_s, reason = self._deadline_s, CloseReason.CLOSED  # its owner was cancelled before it began
        else:
            heard_s = max(self._connected_s, self.microphone.last_packet_s or 0.0)
            deadline_s, reason = heard_s + self._config.silence_timeout_s, CloseReason.SILENT
        if now_s >= deadline_s:
            self._end(reason)
            return
        if self._watchdog is not None:
            self._watchdog.cancel()
        self._watchdog = asyncio.get_running_loop().call_at(deadline_s, self._watch)

    def _on_connection_state(self) -> None:
        state = self._peer.connectionState
        _log.debug("call %s: connection %s", self.id, state)
        if state == "connected" and self._connected_s is None:
            self._connected_s = asyncio.get_running_loop().time()
            self._connected_or_closed.set()
            self._watch()
        elif state == "failed":
            self._end(CloseReason.LOST)
        elif state == "closed":
            self._end(CloseReason.HUNG_UP)

    def _check_open(self) -> None:
        if self._close_reason is not None:
            raise CallClosed(f"call {self.id} is over: {self._close_reason.value}")

    def _end(self, reason: CloseReason) -> None:
        """The moment after which nothing is delivered; what is still held is freed from here on, owner or not."""
        if self._close_reason is not None:
            return
        self._close_reason = reason
        _log.info("call %s: %s", self.id, reason.value)
        if self._watchdog is not None:
            self._watchdog.cancel()
        self.microphone.close()
        self._track.stop()
        self._messages.close()
        # A task of no group, held here: neither a second cancellation nor an owner who is late may keep sockets open.
        self._takedown = asyncio.ensure_future(self._take_down())
        self._closed.set()
        self._connected_or_closed.set()
        for callback in self._when_closed:
            callback()
        self._when_closed.clear()

    async def _take_down(self) -> None:
        try:
            async with asyncio.timeout(self._config.close_timeout_s):
                await close_peer(self._peer, call_id=self.id)
        except TimeoutError:
            _log.error("call %s: the connection did not close in %g s", self.id, self._config.close_timeout_s)
