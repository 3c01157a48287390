"""One text spoken by the chosen synthesizer, and how fast that was."""

import time
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from agent.errors import CommandError
from tts.interface import Synthesizer
from tts.spoken_text import to_spoken_text


class Sink(AbstractAsyncContextManager["Sink"], Protocol):
    """Where speech goes: a file or a loudspeaker."""

    async def __aenter__(self) -> Self: ...

    async def write(self, samples: NDArray[np.float32]) -> None:
        """Take samples [S] in [-1, 1] at the synthesizer's rate."""
        ...


@dataclass(frozen=True, slots=True)
class SpeechReport:
    """How one utterance went."""

    voice: str
    audio_s: float
    first_audio_ms: float  # from asking to the first chunk
    synthesis_s: float  # time spent waiting for the engine

    @property
    def real_time_factor(self) -> float:
        """Time to speak a second of audio; below 1 is faster than real time."""
        return self.synthesis_s / self.audio_s


def choose_voice(synthesizer: Synthesizer, voice: str | None, language: str) -> str:
    """The named voice, or the engine's first one for the language.

    Raises:
        CommandError: no voice speaks the language.
    """
    if voice:
        return voice
    for candidate in synthesizer.voices:
        if candidate.language == language:
            return candidate.name
    known = ", ".join(sorted({candidate.language for candidate in synthesizer.voices}))
    raise CommandError(f"wanted a voice for language {language}, found only {known}; choose one of these")


async def say(synthesizer: Synthesizer, text: str, *, voice: str, language: str, sink: Sink) -> SpeechReport:
    """Speak `text` into `sink`, cleaned of what cannot be spoken.

    Raises:
        SynthesisError: the engine refuses the text, voice or language, or fails.
    """
    waited_s = first_audio_s = 0.0
    samples = 0
    async with sink:
        asked = time.perf_counter()
        async with synthesizer.speak(to_spoken_text(text), voice=voice, language=language) as utterance:
            async for chunk in utterance:
                waited_s += time.perf_counter() - asked
                first_audio_s = first_audio_s or waited_s
                samples += len(chunk.samples)
                await sink.write(chunk.samples)
                asked = time.perf_counter()
    if not samples:
        raise CommandError("the engine spoke nothing; try a text with words in it")
    return SpeechReport(voice, samples / synthesizer.sample_rate_hz, first_audio_s * 1000, waited_s)
