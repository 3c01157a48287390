"""Server-sent events, as servers of speech and chat send them (WHATWG HTML, section 9.2, and what llama.cpp adds)."""

from collections.abc import AsyncGenerator, AsyncIterable
from dataclasses import dataclass

from llm.endpoint.errors import EndpointUnreachable

LARGEST_LINE = 4 * 1024 * 1024  # bytes: 30 s of 24 kHz float32 in base64


@dataclass(frozen=True, slots=True)
class Event:
    """One event; `name` is "message" where the server gives none."""

    name: str
    data: str


class _Parser:
    """Lines into events."""

    def __init__(self) -> None:
        self._name = ""
        self._data: list[str] = []

    def feed(self, line: bytes | bytearray) -> Event | None:
        """The event that this line ends, if it does."""
        try:
            field, _, value = line.rstrip(b"\r").decode("utf-8").partition(":")
        except UnicodeDecodeError:
            raise EndpointUnreachable("the server sent an event that is not UTF-8: look at the server") from None
        value = value.removeprefix(" ")
        if field == "event":
            self._name = value
        elif field in ("data", "error"):
            self._data.append(value)
            self._name = "error" if field == "error" else self._name
        elif not line.rstrip(b"\r"):
            return self.end()
        return None

    def end(self) -> Event | None:
        """What is complete at a blank line or the end of the body."""
        event = Event(self._name or "message", "\n".join(self._data)) if self._data else None
        self._name, self._data = "", []
        return event


async def events(blocks: AsyncIterable[bytes]) -> AsyncGenerator[Event, None]:
    """The events in a body that comes in blocks of any size; a last one without its blank line counts.

    A line `error: {...}`, which llama.cpp sends in place of `data:`, makes an event of that name.

    Raises:
        EndpointUnreachable: a line beyond all measure, or one that is not UTF-8.
    """
    parser = _Parser()
    rest = bytearray()
    async for block in blocks:
        rest += block
        if b"\n" in block:
            *lines, rest = rest.split(b"\n")
            for line in lines:
                if event := parser.feed(line):
                    yield event
        if len(rest) > LARGEST_LINE:
            raise EndpointUnreachable(f"the server sent a line of over {LARGEST_LINE} bytes: look at the server")
    if event := parser.feed(rest) or parser.end():
        yield event
