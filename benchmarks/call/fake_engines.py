"""Engines that take no time, for measuring the chain around them: what is left is what the chain itself costs.

The recognizer hears "what time is it" in whatever was said, by default well after the pause that ends the turn, so that
its final transcript alone sets off the reply. The model says its script, at once or after a while and token by
token; the synthesizer says it with a tone, there at once.
"""

import asyncio
import re
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray

from asr.interface import Transcript
from llm.interface import AS_SET, Ending, Message, Sampling, TextDelta, Tool
from tts.interface import SpeechChunk, Voice

FINAL_DELAY_S = 1.0
TONE_HZ = 440.0
TONE_S = 1.0
CHUNK_SAMPLES = 1_920

_TOKEN = re.compile(r"\s*(?:\w+|[^\w\s]+)")  # words and punctuation, as the tokenizers of language models cut them


@dataclass(frozen=True, slots=True)
class Moments:
    """When the engines did what the measurements count from, in CLOCK_MONOTONIC seconds."""

    finals: list[float] = field(default_factory=list[float])  # final transcripts, handed over
    first_tokens: list[float] = field(default_factory=list[float])  # of replies


class LateRecognition:
    """Answers every flush with the same final transcript, so much later."""

    def __init__(self, delay_s: float, moments: Moments) -> None:
        self._delay_s = delay_s
        self._moments = moments
        self._due: asyncio.Queue[float] = asyncio.Queue(maxsize=16)
        self._pushed = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    def push(self, samples: NDArray[np.float32]) -> None:
        self._pushed += len(samples)

    def flush(self) -> None:
        self._due.put_nowait(time.monotonic() + self._delay_s)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Transcript:
        due = await self._due.get()
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        self._moments.finals.append(time.monotonic())
        return Transcript("what time is it", is_final=True, start_samples=0, end_samples=self._pushed, confidence=1.0)


class LateRecognizer:
    """Recognises nothing, on time."""

    def __init__(self, delay_s: float, moments: Moments) -> None:
        self._delay_s = delay_s
        self._moments = moments

    def listen(self, *, language: str | None = None) -> LateRecognition:  # noqa: ARG002
        return LateRecognition(self._delay_s, self._moments)


class PacedReply:
    """A reply whose tokens come at an even pace from the first on, however slowly they are read."""

    def __init__(self, tokens: Sequence[str], first_token_s: float, token_s: float, moments: Moments) -> None:
        self._tokens = deque(tokens)
        self._first_token_s = first_token_s
        self._token_s = token_s
        self._moments = moments
        self._next_s: float | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.cancel()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> TextDelta:
        if not self._tokens:
            raise StopAsyncIteration
        if self._next_s is None:
            await asyncio.sleep(self._first_token_s)
            self._next_s = time.monotonic()
            self._moments.first_tokens.append(self._next_s)
        await asyncio.sleep(max(0.0, self._next_s - time.monotonic()))
        self._next_s += self._token_s
        if not self._tokens:  # cancelled meanwhile
            raise StopAsyncIteration
        return TextDelta(self._tokens.popleft())

    @property
    def ending(self) -> Ending:
        return Ending()

    def cancel(self) -> None:
        self._tokens.clear()


class PacedModel:
    """Always says the same, after a while; all at once, unless a pace is given."""

    def __init__(self, text: str, first_token_s: float, tokens_per_s: float | None, moments: Moments) -> None:
        self._tokens = _TOKEN.findall(text) if tokens_per_s else [text]
        self._first_token_s = first_token_s
        self._token_s = 1 / tokens_per_s if tokens_per_s else 0.0
        self._moments = moments

    def reply(
        self,
        messages: Sequence[Message],  # noqa: ARG002
        tools: Sequence[Tool] = (),  # noqa: ARG002
        sampling: Sampling = AS_SET,  # noqa: ARG002
    ) -> PacedReply:
        return PacedReply(self._tokens, self._first_token_s, self._token_s, self._moments)


class Tone:
    """An utterance of TONE_S, there at once, loud from its first sample."""

    def __init__(self, text: str, sample_rate_hz: int) -> None:
        time_s = np.arange(round(TONE_S * sample_rate_hz)) / sample_rate_hz
        self._samples = (0.3 * np.cos(2 * np.pi * TONE_HZ * time_s)).astype(np.float32)
        self._text = text
        self._position = 0
        self._is_held = False
        self._resumed = asyncio.Event()
        self._resumed.set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.cancel()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SpeechChunk:
        await self._resumed.wait()
        if self._position >= len(self._samples):
            raise StopAsyncIteration
        start, end = self._position, min(self._position + CHUNK_SAMPLES, len(self._samples))
        self._position = end
        share = len(self._text) / len(self._samples)
        return SpeechChunk(self._samples[start:end], int(start * share), round(end * share))

    def hold(self) -> None:
        self._resumed.clear()

    def resume(self) -> None:
        self._resumed.set()

    def cancel(self) -> None:
        self._position = len(self._samples)
        self._resumed.set()


class ToneSynthesizer:
    """Speaks in tones."""

    sample_rate_hz = 24_000
    voices = (Voice("tone", "en"),)

    def speak(self, text: str, *, voice: str, language: str) -> Tone:  # noqa: ARG002
        return Tone(text, self.sample_rate_hz)
