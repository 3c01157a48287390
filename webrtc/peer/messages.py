"""Text between the caller's page and us, over one data channel; knows nothing of what it says."""

import logging
from collections import deque

from aiortc import RTCDataChannel

from webrtc.media.mailbox import Mailbox

# A client that keeps the channel alive sends `ping...`; it is for the transport, not for who listens.
KEEPALIVE_PREFIX = "ping"
MAX_BUFFERED_BYTES = 1 << 20  # of messages that the caller's side does not take

_log = logging.getLogger(__name__)


class Messages:
    """What came in, bounded; what goes out, kept until the channel opens and bounded too."""

    def __init__(self, *, capacity: int, max_chars: int, call_id: str) -> None:
        self.inbox: Mailbox[str] = Mailbox(capacity)
        self.dropped = 0  # of those to the caller
        self._max_chars = max_chars
        self._call_id = call_id
        self._outbox: deque[str] = deque(maxlen=capacity)
        self._channel: RTCDataChannel | None = None
        self._is_closed = False

    def attach(self, channel: RTCDataChannel) -> None:
        """Speak through this open channel; a second one beside it is not read."""
        if self._is_closed or (self._channel is not None and self._channel.readyState == "open"):
            _log.debug("call %s: a further data channel is not read", self._call_id)
            return
        self._channel = channel
        channel.on("message", self._receive)
        while self._outbox:
            channel.send(self._outbox.popleft())

    def send(self, message: str) -> None:
        """Send it, or keep it until the channel opens; the oldest kept are dropped. Ignored after `close`."""
        if self._is_closed:
            return
        if self._channel is None or self._channel.readyState != "open":
            if len(self._outbox) == self._outbox.maxlen:
                self._count_dropped()
            self._outbox.append(message)
        elif self._channel.bufferedAmount > MAX_BUFFERED_BYTES:
            self._count_dropped()
        else:
            self._channel.send(message)

    def close(self) -> None:
        """Let the reader take what is left; send nothing more. Twice is harmless."""
        self._is_closed = True
        self._outbox.clear()
        self.inbox.close()

    def _receive(self, message: str | bytes) -> None:
        if not isinstance(message, str) or len(message) > self._max_chars:
            found = f"{len(message)} characters" if isinstance(message, str) else "binary"
            _log.warning("call %s: a message was dropped: %s", self._call_id, found)
        elif not message.startswith(KEEPALIVE_PREFIX):
            self.inbox.put(message)

    def _count_dropped(self) -> None:
        self.dropped += 1
        if self.dropped == 1:
            _log.warning("call %s: the caller's page does not take its messages; some are dropped", self._call_id)
