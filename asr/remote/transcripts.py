"""Transcripts on their way from the server to their reader, on one event loop."""

import asyncio
from collections import deque
from collections.abc import Iterable

from asr.interface import EngineUnreachable, RecognitionError, Transcript

_MOST_UNREAD = 100


class Transcripts:
    """The transcripts of one stream, and how it ended."""

    def __init__(self) -> None:
        self._waiting: deque[Transcript] = deque()
        self._error: RecognitionError | None = None
        self._is_closed = False
        self._news = asyncio.Event()

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come."""
        return self._is_closed or self._error is not None

    def put(self, transcripts: Iterable[Transcript]) -> None:
        """Add to what is to be read; an unread partial gives way to what follows it."""
        for transcript in transcripts:
            if self._waiting and not self._waiting[-1].is_final:
                self._waiting.pop()
            self._waiting.append(transcript)
        if len(self._waiting) > _MOST_UNREAD:
            self.fail(EngineUnreachable(f"{_MOST_UNREAD} transcripts wait to be read: read them as they come"))
        self._news.set()

    def fail(self, error: RecognitionError) -> None:
        """End with an error, once what came before is read."""
        self._error = self._error or error
        self._news.set()

    def close(self) -> None:
        """End."""
        self._is_closed = True
        self._news.set()

    async def take(self) -> Transcript:
        """The next transcript.

        Raises:
            StopAsyncIteration: closed.
            RecognitionError: as given to `fail`.
        """
        while not self._waiting:
            if self._is_closed:
                raise StopAsyncIteration
            if self._error is not None:
                raise self._error
            self._news.clear()
            await self._news.wait()
        return self._waiting.popleft()
