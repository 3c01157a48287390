"""A list of recognizers as one: a stream that fails is opened on the next, which hears the turn from its beginning.

Between turns it goes back to an engine that is preferred and healthy again.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from asr.interface import (
    SAMPLE_RATE_HZ,
    AudioRejected,
    LanguageNotSupported,
    Recognition,
    RecognitionError,
    Recognizer,
    Transcript,
    Word,
)
from llm.failover import Failover, FailoverErrors, Health

MEMORY_SAMPLES = 30 * SAMPLE_RATE_HZ  # of a turn, to be heard again; the beginning of a longer one is lost
ERRORS = FailoverErrors("recognition", RecognitionError, of_caller=(AudioRejected,), of_stream=(LanguageNotSupported,))


class FallbackRecognizer:
    """Prefers the first engine that is not cooling down after a failure."""

    def __init__(self, engines: Sequence[Recognizer]) -> None:
        self._health = Health(engines)

    def listen(self, *, language: str | None = None) -> Recognition:
        """A stream of the first engine that lets us in."""
        return _FallbackRecognition(Failover(self._health, ERRORS), language)


class _FallbackRecognition:
    """The stream of one engine after the other; when all have failed, the last one's error is the stream's."""

    def __init__(self, failover: Failover[Recognizer], language: str | None) -> None:
        self._failover = failover
        self._language = language
        self._stream: Recognition | None = None
        self._turn: deque[NDArray[np.float32] | None] = deque()  # since the last final; None is a flush
        self._turn_samples = 0
        self._pushed_samples = 0
        self._offset_samples = 0  # of the current engine's positions
        self._is_between_turns = False

    async def __aenter__(self) -> Self:
        await self._open_next()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._failover.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Transcript:
        assert self._stream is not None
        if self._is_between_turns:
            self._is_between_turns = False
            await self._failover.go_back(self._listen, self._catch_up)
        try:
            transcript = await anext(self._stream)
        except RecognitionError as error:
            self._failover.fail_over(error)
            await self._open_next()
            return await self.__anext__()
        if transcript.is_final:
            self._forget_turn()
            self._is_between_turns = True
            self._failover.renew()
        return self._shift(transcript)

    def push(self, samples: NDArray[np.float32]) -> None:
        """Take the next samples; remembered until they are transcribed."""
        self._remember(samples)
        self._pushed_samples += len(samples)
        if self._stream:
            self._stream.push(samples)

    def flush(self) -> None:
        """End of turn."""
        self._turn.append(None)
        if self._stream:
            self._stream.flush()

    def _remember(self, samples: NDArray[np.float32]) -> None:
        self._turn.append(samples)
        self._turn_samples += len(samples)
        while self._turn_samples > MEMORY_SAMPLES and (oldest := self._turn[0]) is not None:
            self._turn.popleft()
            self._turn_samples -= len(oldest)

    def _forget_turn(self) -> None:
        """Drop what a final transcript has answered: up to the first flush."""
        while self._turn:
            samples = self._turn.popleft()
            if samples is None:
                return
            self._turn_samples -= len(samples)

    async def _open_next(self) -> None:
        """Open the next engine that lets us in, and let it hear what has not been transcribed."""
        self._stream = None
        self._catch_up(await self._failover.open_next(self._listen))

    def _listen(self, engine: Recognizer) -> Recognition:
        return engine.listen(language=self._language)

    def _catch_up(self, stream: Recognition) -> None:
        """Listen with this stream, which hears what has not been transcribed."""
        self._offset_samples = self._pushed_samples - self._turn_samples
        for samples in self._turn:
            if samples is None:
                stream.flush()
            else:
                stream.push(samples)
        self._stream = stream

    def _shift(self, transcript: Transcript) -> Transcript:
        """Positions since the recognition began, whichever engine heard it."""
        offset = self._offset_samples
        words = tuple(Word(w.text, w.start_samples + offset, w.end_samples + offset) for w in transcript.words)
        return replace(
            transcript,
            start_samples=transcript.start_samples + offset,
            end_samples=transcript.end_samples + offset,
            words=words,
        )
