"""A list of recognisers as one: a stream that fails is opened on the next, which hears the turn from its beginning.

Between turns it goes back to an engine that is preferred and well again.
"""

import logging
from collections import deque
from collections.abc import Sequence
from contextlib import AsyncExitStack
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
from llm.failover import Health

logger = logging.getLogger(__name__)

MEMORY_SAMPLES = 30 * SAMPLE_RATE_HZ  # of a turn, to be heard again; the beginning of a longer one is lost


class FallbackRecognizer:
    """Prefers the first engine that has not failed of late."""

    def __init__(self, engines: Sequence[Recognizer]) -> None:
        self._health = Health(engines)

    def listen(self, *, language: str | None = None) -> Recognition:
        """A stream of the first engine that lets us in."""
        return _FallbackRecognition(self._health, language)


class _FallbackRecognition:
    """The stream of one engine after the other; when all have failed, the last one's error is the stream's."""

    def __init__(self, health: Health[Recognizer], language: str | None) -> None:
        self._health = health
        self._language = language
        self._untried = health.order()
        self._tried: Recognizer = self._untried[0]
        self._stack = AsyncExitStack()
        self._stream: Recognition | None = None
        self._turn: deque[NDArray[np.float32] | None] = deque()  # since the last final; None is a flush
        self._turn_samples = 0
        self._pushed_samples = 0
        self._offset_samples = 0  # of the current engine's positions
        self._is_between_turns = False
        self._unsuited: list[Recognizer] = []  # without the language

    async def __aenter__(self) -> Self:
        await self._open_next()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Transcript:
        assert self._stream is not None
        if self._is_between_turns:
            self._is_between_turns = False
            await self._go_back()
        try:
            transcript = await anext(self._stream)
        except RecognitionError as error:
            self._pass_over(error)
            await self._open_next()
            return await self.__anext__()
        if transcript.is_final:
            self._forget_turn()
            self._is_between_turns = True
            self._untried = self._others()
        return self._shifted(transcript)

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
        await self._stack.aclose()
        while True:
            self._tried = self._untried.pop(0)
            try:
                stream = await self._stack.enter_async_context(self._tried.listen(language=self._language))
            except RecognitionError as error:
                self._pass_over(error)
            else:
                break
        self._catch_up(stream)

    async def _go_back(self) -> None:
        """Open the preferred engine if it is another and well again; until it lets us in, the current one listens."""
        best = self._suited()[0]
        if best is self._tried or not self._health.is_well(best):
            return
        stack = AsyncExitStack()
        try:
            stream = await stack.enter_async_context(best.listen(language=self._language))
        except RecognitionError as error:
            self._note(best, error)
            return
        left, self._stack, self._tried = self._stack, stack, best
        self._untried = self._others()
        self._catch_up(stream)
        await left.aclose()

    def _catch_up(self, stream: Recognition) -> None:
        """Listen with this stream, which hears what has not been transcribed."""
        self._offset_samples = self._pushed_samples - self._turn_samples
        for samples in self._turn:
            if samples is None:
                stream.flush()
            else:
                stream.push(samples)
        self._stream = stream

    def _pass_over(self, error: RecognitionError) -> None:
        """Leave the current engine for the next; raises its error if that is the caller's doing, or there is none."""
        if isinstance(error, AudioRejected):
            raise error
        self._note(self._tried, error)
        if not self._untried:
            raise error
        logger.warning("recognition failed, another engine stands in: %s", error)

    def _suited(self) -> list[Recognizer]:
        """The engines that know the language, the one to try first first."""
        return [engine for engine in self._health.order() if engine not in self._unsuited]

    def _others(self) -> list[Recognizer]:
        return [engine for engine in self._suited() if engine is not self._tried]

    def _note(self, engine: Recognizer, error: RecognitionError) -> None:
        if isinstance(error, LanguageNotSupported):  # it serves other callers as well as ever
            self._unsuited.append(engine)
        else:
            self._health.failed(engine)

    def _shifted(self, transcript: Transcript) -> Transcript:
        """Positions since the recognition began, whichever engine heard it."""
        offset = self._offset_samples
        words = tuple(Word(w.text, w.start_samples + offset, w.end_samples + offset) for w in transcript.words)
        return replace(
            transcript,
            start_samples=transcript.start_samples + offset,
            end_samples=transcript.end_samples + offset,
            words=words,
        )
