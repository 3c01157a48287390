"""What the rest of Parley knows of a speech recognizer.

Errors::

    RecognitionError
    |- EngineBusy           no free slot; try again later or elsewhere
    |- EngineUnreachable    the engine's process or server does not answer
    |- LanguageNotSupported the engine does not understand this language
    |- AudioRejected        not 16 kHz mono float32, or not finite
"""

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE_HZ = 16_000
LOUDEST = 4.0  # a resampler may overshoot 1.0 a little; integers that were never scaled are far above


class RecognitionError(Exception):
    """A recognizer could not do what was asked; the message says what was wanted, what was found and what to do."""


class EngineBusy(RecognitionError):
    """Every slot of the engine is taken."""


class EngineUnreachable(RecognitionError):
    """The engine's process or server does not answer."""


class LanguageNotSupported(RecognitionError):
    """The engine does not understand this language."""


class AudioRejected(RecognitionError):
    """The pushed audio is not 16 kHz mono float32 with finite values."""


@dataclass(frozen=True, slots=True)
class Word:
    """One word and where it lies in the pushed audio."""

    text: str
    start_samples: int
    end_samples: int


@dataclass(frozen=True, slots=True)
class Transcript:
    """What was said since the last final transcript.

    A partial may be rewritten by the next one; a final is never rewritten. Positions count pushed samples
    (16 kHz) since the recognition began.
    """

    text: str
    is_final: bool
    start_samples: int
    end_samples: int
    words: tuple[Word, ...] = ()
    confidence: float | None = None  # 0 to 1 where the engine knows; None where it does not


class Recognition(AbstractAsyncContextManager["Recognition"], Protocol):
    """One stream of audio being recognized. Leaving the context frees its slot, whatever was in flight."""

    def __aiter__(self) -> Self: ...

    async def __anext__(self) -> Transcript: ...

    def push(self, samples: NDArray[np.float32]) -> None:
        """Take the next samples: 16 kHz mono in [-1, 1], any length; returns at once.

        Raises:
            AudioRejected: wrong dtype, more than one channel, or a value that is not finite.
        """
        ...

    def flush(self) -> None:
        """End of turn: decode the tail at once, then keep listening.

        Every flush is answered by exactly one final transcript, with empty text if nothing was said.
        """
        ...


class Recognizer(Protocol):
    """An engine that turns speech into text for many calls."""

    def listen(self, *, language: str | None = None) -> Recognition:
        """A new stream; `language` is a BCP 47 tag, None leaves it to the engine.

        Entering the returned context raises EngineBusy or EngineUnreachable.
        """
        ...


def check_samples(samples: NDArray[np.float32]) -> None:
    """Raise AudioRejected unless these are one channel of finite float32 samples of about [-1, 1]."""
    if samples.dtype != np.float32 or samples.ndim != 1:
        raise AudioRejected(
            f"wanted one channel of float32 samples at 16 kHz, found {samples.dtype} of shape {samples.shape}: "
            "convert it first"
        )
    loudest = float(np.abs(samples).max(initial=0.0))
    if not np.isfinite(loudest):
        raise AudioRejected("wanted finite samples in [-1, 1], found NaN or infinity: look at the source")
    if loudest > LOUDEST:
        raise AudioRejected(f"wanted samples in [-1, 1], found {loudest:g}: divide 16-bit samples by 32768")
