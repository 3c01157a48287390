"""Audio transcribed by the chosen recognizer, cut into utterances at its pauses as in a call."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable

import numpy as np
from numpy.typing import NDArray

from agent.errors import CommandError
from asr.interface import Recognition, Recognizer, Transcript
from pipelines.config import VadConfig
from pipelines.listening.silero import SAMPLE_RATE_HZ, WINDOW_SAMPLES, SileroStream

PRE_ROLL_MS = 300
PAUSE_MS = 700  # longer than a pause for breath: whole sentences read better than their parts
_FINAL_LIMIT_S = 20.0

Samples = NDArray[np.float32]


async def blocks_of(samples: Samples) -> AsyncIterator[Samples]:
    """The samples [S] window by window."""
    for start in range(0, len(samples), WINDOW_SAMPLES):
        yield samples[start : start + WINDOW_SAMPLES]


async def transcribe(
    recognizer: Recognizer,
    audio: AsyncIterator[Samples],
    *,
    language: str,
    on_transcript: Callable[[Transcript], None],
) -> None:
    """Transcribe audio until it ends.

    Args:
        recognizer: transcribes it.
        audio: blocks [S] of 16 kHz mono in [-1, 1], any length.
        language: BCP 47 tag.
        on_transcript: is given every partial and final.

    Raises:
        RecognitionError: the engine fails.
        CommandError: it does not answer in time.
    """
    async with recognizer.listen(language=language) as recognition, asyncio.TaskGroup() as group:
        finals: asyncio.Semaphore = asyncio.Semaphore(0)
        reader = group.create_task(_read(recognition, finals, on_transcript))
        utterance = _Utterances(recognition)
        async for block in audio:
            for has_ended in utterance.take(block):
                if has_ended:
                    await _wait_for_final(finals)
            await asyncio.sleep(0)
        if utterance.end():
            await _wait_for_final(finals)
        reader.cancel()


async def _read(
    recognition: Recognition, finals: asyncio.Semaphore, on_transcript: Callable[[Transcript], None]
) -> None:
    async for transcript in recognition:
        on_transcript(transcript)
        if transcript.is_final:
            finals.release()


async def _wait_for_final(finals: asyncio.Semaphore) -> None:
    try:
        await asyncio.wait_for(finals.acquire(), _FINAL_LIMIT_S)
    except TimeoutError:
        raise CommandError(f"the recognizer did not answer within {_FINAL_LIMIT_S:.0f} s; try again") from None


class _Utterances:
    """Passes speech and a little before it to the recognizer, and flushes it at pauses."""

    def __init__(self, recognition: Recognition) -> None:
        self._recognition = recognition
        self._silero = SileroStream()
        self._vad = VadConfig()
        self._rest = np.zeros(0, np.float32)
        self._before: deque[Samples] = deque(maxlen=_windows(PRE_ROLL_MS))
        self._is_open = False
        self._silent_windows = 0

    def take(self, block: Samples) -> list[bool]:
        """Whether an utterance ended, for each window that is now complete."""
        samples = np.concatenate((self._rest, block))
        complete = len(samples) - len(samples) % WINDOW_SAMPLES
        self._rest = samples[complete:]
        return [self._window(window) for window in samples[:complete].reshape(-1, WINDOW_SAMPLES)]

    def end(self) -> bool:
        """The audio is over; whether that ended an utterance."""
        was_open, self._is_open = self._is_open, False
        if was_open:
            self._recognition.push(self._rest)
            self._recognition.flush()
        return was_open

    def _window(self, window: Samples) -> bool:
        is_speech = self._silero.probability(window) >= self._vad.speech_probability
        if not self._is_open:
            self._before.append(window)
            if is_speech:
                self._is_open = True
                self._silent_windows = 0
                self._recognition.push(np.concatenate(self._before))
                self._before.clear()
            return False
        self._recognition.push(window)
        self._silent_windows = 0 if is_speech else self._silent_windows + 1
        if self._silent_windows < _windows(PAUSE_MS):
            return False
        self._is_open = False
        self._recognition.flush()
        return True


def _windows(ms: int) -> int:
    return -(-ms * SAMPLE_RATE_HZ // (1000 * WINDOW_SAMPLES))
