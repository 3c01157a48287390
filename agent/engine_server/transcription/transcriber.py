"""The audio of one socket, utterance by utterance, whatever protocol it comes in: deltas and whole texts come out.

The recognizer is asked when the first utterance begins, so a socket that is kept in reserve takes no slot, and it is
kept until the socket closes.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from asr.interface import SAMPLE_RATE_HZ, Recognition, RecognitionError, Recognizer

Samples = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Delta:
    """What has been recognized since the last delta of this utterance."""

    text: str


@dataclass(frozen=True, slots=True)
class Done:
    """An utterance is complete."""

    text: str  # the whole; where a recognizer thinks again, not what the deltas join to
    audio_s: float


@dataclass(frozen=True, slots=True)
class Failed:
    """The recognizer has failed, and the utterance is lost; the next one is free of it."""

    error: RecognitionError


Deliver = Callable[[Delta | Done | Failed], Awaitable[None]]


class TooMuchAudio(Exception):
    """More audio was sent than is kept for an utterance that has not begun."""


class Transcriber:
    """Recognizes for one socket. Use as `async with`."""

    def __init__(
        self,
        recognizer: Recognizer,
        deliver: Deliver,
        on_audio: Callable[[float], None],
        *,
        uncommitted_audio_s: float,
    ) -> None:
        """Recognize nothing yet.

        Args:
            recognizer: of the process.
            deliver: is awaited with every event, in order; it must not raise.
            on_audio: is given the seconds of audio that go to the recognizer.
            uncommitted_audio_s: most audio that is kept for an utterance that has not begun.
        """
        self._recognizer = recognizer
        self._deliver = deliver
        self._most_waiting = round(uncommitted_audio_s * SAMPLE_RATE_HZ)
        self._waiting: list[Samples] = []
        self._waiting_samples = 0
        self._is_running = False
        self._on_audio = on_audio
        self._recognition: Recognition | None = None
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._close()

    def push(self, samples: Samples) -> None:
        """Take samples [S] of 16 kHz in [-1, 1], for the utterance in progress or else for the next one.

        Raises:
            TooMuchAudio: none is in progress, and what waits for the next is too much.
            RecognitionError: the recognizer refuses them.
        """
        if self._is_running:
            self._hear(samples)
            return
        if self._waiting_samples + len(samples) > self._most_waiting:
            raise TooMuchAudio(
                f"{self._most_waiting / SAMPLE_RATE_HZ:g} s of audio wait to be transcribed: ask for that first"
            )
        self._waiting.append(samples)
        self._waiting_samples += len(samples)

    async def begin(self) -> None:
        """Begin an utterance with the audio that waits; nothing if one is in progress.

        Raises:
            RecognitionError: the recognizer is busy or not there; the audio is dropped.
        """
        if self._is_running:
            return
        waiting, self._waiting, self._waiting_samples = self._waiting, [], 0
        if self._recognition is None:
            await self._close()  # of one that failed
            self._recognition = await self._open()
        self._is_running = True
        for samples in waiting:
            self._hear(samples)

    async def end(self) -> None:
        """End the utterance in progress, or else one that is begun now: it will be delivered whole.

        Raises:
            RecognitionError: the recognizer is busy or not there.
        """
        await self.begin()
        self._is_running = False
        if self._recognition is not None:
            self._recognition.flush()

    def _hear(self, samples: Samples) -> None:
        if self._recognition is not None:
            self._recognition.push(samples)
            self._on_audio(len(samples) / SAMPLE_RATE_HZ)

    async def _open(self) -> Recognition:
        async with AsyncExitStack() as stack:
            recognition = await stack.enter_async_context(self._recognizer.listen(language=None))
            tasks = await stack.enter_async_context(asyncio.TaskGroup())
            stack.callback(tasks.create_task(self._read(recognition), name="transcripts").cancel)
            self._stack = stack.pop_all()
        return recognition

    async def _close(self) -> None:
        self._recognition = None
        await self._stack.aclose()

    async def _read(self, recognition: Recognition) -> None:
        sent = ""
        try:
            async for transcript in recognition:
                # What was sent cannot be taken back: a text that contradicts it waits for the end.
                if len(transcript.text) > len(sent) and transcript.text.startswith(sent):
                    await self._deliver(Delta(transcript.text[len(sent) :]))
                    sent = transcript.text
                if transcript.is_final:
                    sent = ""
                    audio_samples = transcript.end_samples - transcript.start_samples
                    await self._deliver(Done(transcript.text, audio_samples / SAMPLE_RATE_HZ))
        except RecognitionError as error:
            self._is_running = False
            self._recognition = None
            await self._deliver(Failed(error))
