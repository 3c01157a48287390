"""What the rest of Parley knows of a speech synthesizer.

Errors::

    SynthesisError
    |- VoiceNotFound          no such voice; the message lists the nearest names
    |- LanguageNotSupported   no voice of the engine speaks this language
    |- TextRejected           empty, or longer than the engine can speak in one utterance
    |- EngineBusy             no free slot; try again later or elsewhere
    |- EngineUnreachable      the engine's process or server does not answer
"""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray


class SynthesisError(Exception):
    """A synthesizer could not do what was asked; the message says what was wanted, what was found and what to do."""


class VoiceNotFound(SynthesisError):
    """The engine has no voice of this name."""


class LanguageNotSupported(SynthesisError):
    """No voice of the engine speaks this language."""


class TextRejected(SynthesisError):
    """The text is empty or too long for one utterance."""


class EngineBusy(SynthesisError):
    """Every slot of the engine is taken."""


class EngineUnreachable(SynthesisError):
    """The engine's process or server does not answer."""


@dataclass(frozen=True, slots=True)
class Voice:
    """A voice that the engine offers."""

    name: str
    language: str  # BCP 47 tag, e.g. "en" or "pt"
    description: str = ""


@dataclass(frozen=True, slots=True)
class SpeechChunk:
    """Consecutive samples of an utterance and the span of its text that they speak.

    `text[text_start:text_end]` is exact where the engine knows its word times, else a share of the characters by
    the share of time. Spans of consecutive chunks join without gap or overlap and end at `len(text)`.
    """

    samples: NDArray[np.float32]  # mono, in [-1, 1], at the synthesizer's sample rate
    text_start: int
    text_end: int


class Utterance(AbstractAsyncContextManager["Utterance"], Protocol):
    """One stretch of synthesis. Leaving the context cancels what is left of it and frees its slot."""

    def __aiter__(self) -> Self: ...

    async def __anext__(self) -> SpeechChunk: ...

    def hold(self) -> None:
        """Launch no further frame; the one in flight is dropped, nothing is lost. Twice is harmless."""
        ...

    def resume(self) -> None:
        """Go on from the next frame: the samples are those of an utterance that was never held."""
        ...

    def cancel(self) -> None:
        """End it: after this returns no chunk is delivered; the slot is free at the next step. Twice is harmless."""
        ...


class Synthesizer(Protocol):
    """An engine that speaks for many calls."""

    @property
    def sample_rate_hz(self) -> int:
        """Rate of every chunk's samples; calls want 24,000."""
        ...

    @property
    def voices(self) -> Sequence[Voice]:
        """The voices on offer, in the order in which to list them."""
        ...

    def speak(self, text: str, *, voice: str, language: str) -> Utterance:
        """An utterance of `text`, spoken from the moment its context is entered.

        Raises:
            VoiceNotFound, LanguageNotSupported, TextRejected: at once.
            EngineBusy, EngineUnreachable: when its context is entered.
        """
        ...
