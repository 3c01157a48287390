"""What a recognizer behind a web socket must be able to say, and what it may answer."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from llm.endpoint.client import EndpointSocket
from llm.endpoint.errors import EndpointUnreachable

JsonObject = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class HeardPiece:
    """The next piece of the turn's text, often empty."""

    text: str


@dataclass(frozen=True, slots=True)
class TurnDone:
    """The turn is over; its whole text where the server tells it, None where the pieces must do."""

    text: str | None


class RealtimeDialect(Protocol):
    """One server's protocol. A turn is its audio, then `finish`; the server answers with pieces, then `TurnDone`."""

    path: str
    query: Mapping[str, str]

    async def open(self, socket: EndpointSocket) -> None:
        """Do what comes before any audio.

        Raises:
            EndpointError: the server will not have it.
        """
        ...

    def begin(self) -> Sequence[JsonObject]:
        """What comes before the first audio of a turn."""
        ...

    def audio(self, pcm16: bytes) -> JsonObject:
        """Some 16 kHz mono 16-bit little-endian audio."""
        ...

    def finish(self) -> JsonObject:
        """The end of the turn's audio."""
        ...

    def read(self, message: JsonObject) -> HeardPiece | TurnDone | None:
        """What a message of the server means; None if it does not matter.

        Raises:
            EndpointError: it is an error, or malformed.
        """
        ...


def base64_of(pcm16: bytes) -> str:
    """Audio as both protocols carry it."""
    return b64encode(pcm16).decode("ascii")


def text_in(message: JsonObject, field: str) -> str:
    """The text in a field of a message.

    Raises:
        EndpointUnreachable: there is none.
    """
    text = message.get(field)
    if not isinstance(text, str):
        raise EndpointUnreachable(
            f"the recognition server sent a malformed event ({str(message.get('type'))[:60]} without {field}): "
            "look at its version",
            retry_after_s=0.0,
        )
    return text
