"""One caller as everything above sees them: a `Call` with its `Microphone` and `Playout`, and what can go wrong.

Whatever brings a caller in implements `Call`; `tests/webrtc/test_call_contract.py` holds every implementation to the
guarantees written here. Nothing here knows packets, sockets or codecs.

Errors::

    CallError
    |- OfferRejected          the offer cannot become a call; the message says why
    |  |- MalformedOffer      not SDP, not an offer, or without its ICE or DTLS parameters
    |  |- NoAudio             no audio line, or one that does not go both ways
    |  |- NoOpus              audio, but not Opus at 48 kHz
    |  |- NoCandidates        no address to send to, and none will follow
    |  |- RestartRefused      a second offer from another connection for the same call
    |- CandidateRejected      a trickled candidate that cannot be used
    |- NotConnected           no connection within the time allowed
    |- CallClosed             the call is over
"""

import enum
from collections.abc import AsyncIterator
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Protocol, Self

import numpy as np
from numpy.typing import NDArray

MICROPHONE_RATE_HZ: Final = 16_000
PLAYOUT_RATE_HZ: Final = 24_000


@dataclass(frozen=True, slots=True)
class MicrophoneFrame:
    """20 ms of the caller's audio."""

    samples: NDArray[np.float32]  # [320], 16 kHz mono in [-1, 1]
    position_samples: int  # of the first sample, since the first audio of the call
    is_concealed: bool  # some of it was made up, because packets were missing


class Microphone(Protocol):
    """What the caller says, in order and in steady time; for one reader.

    The iteration ends with the call, once the reader has taken what is left. What a reader that stalls does not take
    is bounded: the oldest frames are dropped, which shows as a gap between the positions of two frames.
    """

    def __aiter__(self) -> Self: ...

    async def __anext__(self) -> MicrophoneFrame:
        """The next frame.

        Raises:
            StopAsyncIteration: the call is over, and every frame was taken.
        """
        ...


class Playout(Protocol):
    """What the caller hears: one queue of speech, sent in steady time, silence where there is none.

    Every accepted sample is sent once and in order, unless it is cut. Whatever is asked for acts from the next packet
    on. Positions count samples of speech, 24 kHz mono, since the call began; silence between them is not counted.
    After the end of the call nothing moves any more: speech is still accepted up to the capacity, and never sent.
    """

    @property
    def position_samples(self) -> int:
        """Speech sent: where the caller is in what was written."""
        ...

    @property
    def written_samples(self) -> int:
        """Position at which the accepted speech ends."""
        ...

    @property
    def lead_samples(self) -> int:
        """Speech accepted and not yet sent: `written_samples - position_samples`."""
        ...

    @property
    def underruns(self) -> int:
        """How often speech ran dry inside an utterance."""
        ...

    def write(self, samples: NDArray[np.float32]) -> int:
        """Accept speech, [S] in [-1, 1]; returns the position of its first sample.

        Raises:
            ValueError: not one channel of float32.
            BufferError: more than the capacity would wait; nothing was accepted.
        """
        ...

    def finish(self) -> None:
        """The utterance is complete: running dry from here on is no underrun."""
        ...

    def duck(self, gain_db: float = -15.0, ramp_ms: float = 10.0) -> None:
        """Go on more quietly."""
        ...

    def mute(self, ramp_ms: float = 10.0) -> None:
        """Fade to silence and wait: what is not sent by the end of the fade stays, for `resume` or `cut`."""
        ...

    def resume(self, ramp_ms: float = 10.0) -> None:
        """Back to full loudness, after `duck` or `mute`: not one sample is lost or repeated."""
        ...

    def cut(self, fade_ms: float = 10.0) -> int:
        """Fade out within the next packet and drop the rest; what is written afterwards has full loudness.

        Returns:
            The position at which speech ends; `written_samples` from then on.
        """
        ...

    async def wait_advanced(self) -> int:
        """Wait until the next packet was sent, of speech or silence; returns `position_samples`.

        Raises:
            CallClosed: the call is over.
        """
        ...


@dataclass(frozen=True, slots=True)
class CallStats:
    """What became of a call's packets so far."""

    late_packets: int  # of the caller's: came too late to be heard
    lost_packets: int  # of the caller's: given up and concealed, whether or not they came late
    stalls: int  # times that playout was so late that its schedule was restarted


class CloseReason(enum.Enum):
    """Why a call ended."""

    HUNG_UP = "the caller hung up"
    LOST = "the connection failed"
    SILENT = "no audio packets came any more"
    NOT_CONNECTED = "no connection came about"
    ENDLESS_MESSAGE = "the caller sent a message without an end"
    CLOSED = "closed by us"


class Call(Protocol):
    """One connected caller: a microphone, a playout, messages both ways, and an end.

    Entered once by its owner; leaving the context hangs up and frees everything, for whatever reason it is left. A
    call that ends by itself ends its iterators and wakes its waiters; its owner still leaves the context.
    """

    @property
    def id(self) -> str:
        """32 hexadecimal digits, unique among all calls of all processes; on every log line about the call."""
        ...

    @property
    def microphone(self) -> Microphone:
        """What the caller says."""
        ...

    @property
    def playout(self) -> Playout:
        """What the caller hears."""
        ...

    @property
    def messages(self) -> AsyncIterator[str]:
        """What the caller's side sends, in order, until the call is over; for one reader.

        Bounded in number and length: the oldest unread are dropped, and longer ones are never delivered.
        """
        ...

    @property
    def close_reason(self) -> CloseReason | None:
        """Why the call ended; None while it lasts."""
        ...

    @property
    def stats(self) -> CallStats:
        """Counts so far; to be read at any time, also after the end."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    async def wait_connected(self) -> None:
        """Wait until audio can flow.

        Raises:
            NotConnected: the call ended first, at the latest after the time allowed.
        """
        ...

    async def wait_closed(self) -> CloseReason:
        """Wait until the call is over, by either side or because the connection was lost or went silent."""
        ...

    def send(self, message: str) -> None:
        """Send a message to the caller's side, in order; ignored after the end.

        Kept until it can be sent: a bounded number, of which the oldest are dropped.
        """
        ...

    async def close(self) -> None:
        """Hang up and free everything. Twice is harmless, and so is cancelling it."""
        ...


class CallError(Exception):
    """A call could not do what was asked; the message says what was wanted, found and to do."""


class OfferRejected(CallError):
    """The offer cannot become a call."""


class MalformedOffer(OfferRejected):
    """The offer is not SDP, not an offer, or lacks its ICE or DTLS parameters."""


class NoAudio(OfferRejected):
    """The offer has no audio line, or one that does not go both ways."""


class NoOpus(OfferRejected):
    """The offer has audio, but not Opus at 48 kHz."""


class NoCandidates(OfferRejected):
    """The offer has no address to send to and does not announce that any will follow."""


class RestartRefused(OfferRejected):
    """A second offer came from another connection for the same call."""


class CandidateRejected(CallError):
    """A trickled candidate cannot be used."""


class NotConnected(CallError):
    """No connection came about within the time allowed."""


class CallClosed(CallError):
    """The call is over."""
