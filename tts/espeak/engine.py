"""Speech from eSpeak NG: a synthesizer that needs no weights, with exact word times."""

import asyncio
import re
from collections import deque
from collections.abc import Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

import numpy as np
import soxr  # pyright: ignore[reportMissingTypeStubs]  (its C extension alone has stubs)
from numpy.typing import NDArray

from tts.config import EspeakConfig
from tts.espeak.process import EspeakProcess
from tts.espeak.timing import SAMPLE_RATE_HZ, Span, chunk_spans, clause_ends, pause_after, trim_start, word_spans
from tts.espeak.voices import VOICES, espeak_voice
from tts.interface import EngineBusy, EngineUnreachable, SpeechChunk, TextRejected, Utterance, Voice

LONGEST_CHUNK = SAMPLE_RATE_HZ * 80 // 1000

# About ten seconds: rendered in some 20 ms, and the most that a cancelled utterance has rendered in vain.
_LONGEST_CLAUSE = 160
_SILENCE = 0.002  # -54 dBFS, below the faintest onset of a consonant
_LEAD_IN = SAMPLE_RATE_HZ * 5 // 1000

_UNSPEAKABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


class EspeakSynthesizer:
    """eSpeak NG for many calls. Use as `async with`: entering starts its processes, leaving ends them."""

    def __init__(self, config: EspeakConfig) -> None:
        self._config = config
        self._processes = [EspeakProcess(config.answer_timeout_s) for _ in range(config.workers)]
        self._stack = AsyncExitStack()
        self._is_open = False
        self._open_utterances = 0
        self._next_process = 0

    async def __aenter__(self) -> Self:
        """Start the processes.

        Raises:
            EngineUnreachable: eSpeak NG is not installed or does not start.
        """
        async with AsyncExitStack() as stack:
            for process in self._processes:
                stack.push_async_callback(process.stop)
                await process.start()
            self._stack = stack.pop_all()
        self._is_open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._is_open = False
        await self._stack.aclose()

    @property
    def sample_rate_hz(self) -> int:
        """Rate of every chunk's samples."""
        return SAMPLE_RATE_HZ

    @property
    def voices(self) -> Sequence[Voice]:
        """The voices on offer."""
        return VOICES

    def speak(self, text: str, *, voice: str, language: str) -> Utterance:
        """An utterance of `text`; see `tts.interface.Synthesizer`."""
        name = espeak_voice(voice, language)
        if not text.strip():
            raise TextRejected("the text is empty: give at least one word")
        if len(text) > self._config.max_characters:
            raise TextRejected(
                f"the text has {len(text)} characters, at most {self._config.max_characters} fit: cut it into sentences"
            )
        return EspeakUtterance(self, text, name)

    def take_slot(self) -> None:
        """Count an utterance in, or raise EngineUnreachable or EngineBusy."""
        if not self._is_open:
            raise EngineUnreachable("the engine is not started, or stopped: use it as `async with`")
        if self._open_utterances >= self._config.utterances:
            raise EngineBusy(f"all {self._config.utterances} utterances are taken: try again later")
        self._open_utterances += 1

    def free_slot(self) -> None:
        """Count an utterance out."""
        self._open_utterances -= 1

    async def render(self, text: str, voice: str) -> tuple[NDArray[np.float32], list[Span]]:
        """A clause at 24 kHz, [S] in [-1, 1], and the spans of its words."""
        process = self._processes[self._next_process]
        self._next_process = (self._next_process + 1) % len(self._processes)
        rendering = await process.render(_UNSPEAKABLE.sub(" ", text), voice, self._config.words_per_minute)
        rate = process.sample_rate_hz
        samples = soxr.resample(rendering.samples.astype(np.float32) / 32768.0, rate, SAMPLE_RATE_HZ)
        marks = [(character, round(at * SAMPLE_RATE_HZ / rate)) for character, at in rendering.words]
        return np.clip(samples, -1.0, 1.0), word_spans(text, marks, len(samples))


class EspeakUtterance(Utterance):
    """One text being spoken, clause by clause as it is listened to."""

    def __init__(self, engine: EspeakSynthesizer, text: str, voice: str) -> None:
        self._engine = engine
        self._text = text
        self._voice = voice
        self._clause_ends = clause_ends(text, _LONGEST_CLAUSE)
        self._position = 0  # in the text: what lies before it is rendered
        self._ready: deque[SpeechChunk] = deque()
        self._may_run = asyncio.Event()
        self._may_run.set()
        self._has_slot = False
        self._is_cancelled = False

    async def __aenter__(self) -> Self:
        """Take a slot and render the first clause.

        Raises:
            EngineBusy, EngineUnreachable: no slot; eSpeak does not answer.
        """
        if self._is_cancelled:
            return self
        self._engine.take_slot()
        self._has_slot = True
        try:
            await self._render_clause()
        except BaseException:
            self.cancel()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.cancel()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SpeechChunk:
        """The next chunk, at most 80 ms.

        Raises:
            EngineUnreachable: eSpeak died; what was delivered stays right.
        """
        while True:
            await self._may_run.wait()
            if self._is_cancelled:
                raise StopAsyncIteration
            if self._ready:
                return self._ready.popleft()
            if self._position == len(self._text):
                raise StopAsyncIteration
            await self._render_clause()

    def hold(self) -> None:
        """Deliver nothing until `resume`."""
        if not self._is_cancelled:
            self._may_run.clear()

    def resume(self) -> None:
        """Go on where it was held."""
        self._may_run.set()

    def cancel(self) -> None:
        """End it and free its slot."""
        self._is_cancelled = True
        self._ready.clear()
        self._may_run.set()
        if self._has_slot:
            self._has_slot = False
            self._engine.free_slot()

    async def _render_clause(self) -> None:
        start, end = self._position, next(self._clause_ends)
        clause = self._text[start:end]
        samples, spans = await self._engine.render(clause, self._voice)
        if self._is_cancelled:
            return
        if start == 0:
            samples, spans = trim_start(samples, spans, _SILENCE, _LEAD_IN)
        pause = pause_after(clause)
        samples = np.concatenate([samples, np.zeros(pause, np.float32)])
        spans.append(Span(len(samples) - pause, len(samples), len(clause), len(clause)))
        self._ready.extend(
            SpeechChunk(samples[span.start : span.end], start + span.text_start, start + span.text_end)
            for span in chunk_spans(spans, LONGEST_CHUNK)
        )
        self._position = end
