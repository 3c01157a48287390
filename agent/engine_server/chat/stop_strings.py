"""A reply that ends before the first of some strings, wherever the borders of its pieces fall."""

from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from types import TracebackType
from typing import Self

from llm.interface import Ending, Reply, TextDelta, ToolCall


class StoppedReply(Reply):
    """Another reply up to there. Text that may be the beginning of a stop string is held back until that is known."""

    def __init__(self, reply: Reply, stops: Sequence[str]) -> None:
        self._reply = reply
        self._stops = stops
        self._held = ""
        self._ready: deque[TextDelta | ToolCall] = deque()
        self._is_stopped = False

    async def __aenter__(self) -> Self:
        await self._reply.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._reply.__aexit__(kind, error, traceback)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> TextDelta | ToolCall:
        """The next piece before the stop string."""
        while not self._ready:
            if self._is_stopped:
                raise StopAsyncIteration
            piece = await anext(self._reply, None)
            if isinstance(piece, TextDelta):
                self._add(piece.text)
                continue
            self._let_go(len(self._held))
            if piece is not None:
                self._ready.append(piece)
            elif not self._ready:
                raise StopAsyncIteration
        return self._ready.popleft()

    def cancel(self) -> None:
        """End it."""
        self._ready.clear()
        self._held = ""
        self._reply.cancel()

    @property
    def ending(self) -> Ending:
        """How it ended; with the tokens that were written before it could be stopped."""
        return replace(self._reply.ending, is_cut=False) if self._is_stopped else self._reply.ending

    def _add(self, text: str) -> None:
        self._held += text
        found = [at for stop in self._stops if (at := self._held.find(stop)) >= 0]
        if found:
            self._let_go(min(found))
            self._is_stopped = True
            self._reply.cancel()
        else:
            self._let_go(len(self._held) - max(_begun(self._held, stop) for stop in self._stops))

    def _let_go(self, length: int) -> None:
        text, self._held = self._held[:length], self._held[length:]
        if text:
            self._ready.append(TextDelta(text))


def _begun(text: str, stop: str) -> int:
    """How much of the text's end may be the beginning of the stop string."""
    return next((length for length in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:length])), 0)
