"""A list of synthesizers as one: a clause whose engine fails is finished by the next, from the word it had reached."""

from collections.abc import Sequence
from dataclasses import replace
from types import TracebackType
from typing import Self

from llm.failover import Failover, FailoverErrors, Health
from tts.interface import (
    LanguageNotSupported,
    SpeechChunk,
    SynthesisError,
    Synthesizer,
    TextRejected,
    Utterance,
    Voice,
    VoiceNotFound,
)

ERRORS = FailoverErrors("speech", SynthesisError, of_caller=(VoiceNotFound, LanguageNotSupported, TextRejected))


class FallbackSynthesizer:
    """Prefers the first engine that is not cooling down after a failure. All must speak at one sample rate."""

    def __init__(self, engines: Sequence[Synthesizer]) -> None:
        rates = {engine.sample_rate_hz for engine in engines}
        if len(rates) != 1:
            raise ValueError(f"engines that fall back to each other must have one sample rate, not {sorted(rates)}")
        self._engines = engines
        self._health = Health(engines)

    @property
    def sample_rate_hz(self) -> int:
        """Rate of every chunk's samples."""
        return self._engines[0].sample_rate_hz

    @property
    def voices(self) -> Sequence[Voice]:
        """The preferred engine's voices; a fallback without that voice uses its own first one of the language."""
        return self._engines[0].voices

    def speak(self, text: str, *, voice: str, language: str) -> Utterance:
        """An utterance of `text`, begun by the first engine that lets us in."""
        return _FallbackUtterance(Failover(self._health, ERRORS), text, voice, language)


class _FallbackUtterance:
    """The utterance of one engine after the other; the last one's error is the utterance's."""

    def __init__(self, failover: Failover[Synthesizer], text: str, voice: str, language: str) -> None:
        self._failover = failover
        self._text = text
        self._voice = voice
        self._language = language
        self._utterance: Utterance | None = None
        self._begun_at = 0  # characters of the text before what the current engine speaks
        self._spoken_to = 0  # ahead of it by the part of a word that is spoken again from its start
        self._is_held = False

    async def __aenter__(self) -> Self:
        await self._open_next()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._failover.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SpeechChunk:
        assert self._utterance is not None
        try:
            chunk = await anext(self._utterance)
        except SynthesisError as error:
            self._failover.fail_over(error)
            if not any(map(str.isalnum, self._text[self._spoken_to :])):
                raise StopAsyncIteration from None
            await self._open_next()
            return await self.__anext__()
        start, self._spoken_to = self._spoken_to, max(self._spoken_to, self._begun_at + chunk.text_end)
        return replace(chunk, text_start=start, text_end=self._spoken_to)

    def hold(self) -> None:
        """Launch no further frame."""
        self._is_held = True
        if self._utterance:
            self._utterance.hold()

    def resume(self) -> None:
        """Go on."""
        self._is_held = False
        if self._utterance:
            self._utterance.resume()

    def cancel(self) -> None:
        """End it."""
        self._failover.keeps_engine = True
        if self._utterance:
            self._utterance.cancel()

    async def _open_next(self) -> None:
        """Have the next engine that lets us in speak what is left."""
        self._begun_at = _word_start(self._text, self._spoken_to)
        self._utterance = await self._failover.open_next(self._begin)
        if self._is_held:
            self._utterance.hold()

    def _begin(self, engine: Synthesizer) -> Utterance:
        names = [voice.name for voice in engine.voices]
        speaks = [voice.name for voice in engine.voices if voice.language.split("-")[0] == self._language.split("-")[0]]
        voice = self._voice if self._voice in names else (speaks or names)[0]
        rest = self._text[self._begun_at :]
        return engine.speak(rest, voice=voice, language=self._language)


def _word_start(text: str, position: int) -> int:
    """Where the word around a position begins; the position itself between words."""
    if text[position : position + 1].strip():
        while position and not text[position - 1].isspace():
            position -= 1
    return position
