"""A list of synthesizers as one: the sentence goes on where the first engine died."""

from types import TracebackType
from typing import Self

import numpy as np
import pytest

from tts.fallback import FallbackSynthesizer
from tts.interface import (
    EngineBusy,
    EngineUnreachable,
    LanguageNotSupported,
    SpeechChunk,
    SynthesisError,
    TextRejected,
    Voice,
    VoiceNotFound,
)

TEXT = "one two three four"


class WordUtterance:
    """A chunk for every word; dies before word number `dies_at`."""

    def __init__(self, engine: "WordSynthesizer", text: str) -> None:
        self._engine = engine
        self._text = text[: engine.knows]
        self._end = 0
        self._words = 0
        self.calls: list[str] = []

    async def __aenter__(self) -> Self:
        if self._engine.refuses_with:
            raise self._engine.refuses_with
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.calls.append("left")

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SpeechChunk:
        if self._words == self._engine.dies_at:
            raise EngineUnreachable("gone")
        if self._end == len(self._text):
            raise StopAsyncIteration
        start = self._end
        space = self._text.find(" ", start)
        self._end = len(self._text) if space < 0 else space + 1
        self._words += 1
        return SpeechChunk(np.full(10, self._engine.level, np.float32), start, self._end)

    def hold(self) -> None:
        self.calls.append("hold")

    def resume(self) -> None:
        self.calls.append("resume")

    def cancel(self) -> None:
        self.calls.append("cancel")
        self._end = len(self._text)


class WordSynthesizer:
    sample_rate_hz = 24_000

    def __init__(
        self,
        name: str,
        level: float,
        *,
        dies_at: int = -1,
        refuses_with: Exception | None = None,
        knows: int | None = None,
    ) -> None:
        self.voices = (Voice(f"{name} fr", "fr"), Voice(f"{name} en", "en"))
        self.level = level
        self.dies_at = dies_at
        self.refuses_with = refuses_with
        self.knows = knows
        self.spoken: list[tuple[str, str]] = []
        self.utterances: list[WordUtterance] = []

    def speak(self, text: str, *, voice: str, language: str) -> WordUtterance:
        self.spoken.append((text, voice))
        self.utterances.append(WordUtterance(self, text))
        return self.utterances[-1]


async def speak(engine: FallbackSynthesizer) -> list[SpeechChunk]:
    async with engine.speak(TEXT, voice="first en", language="en") as utterance:
        return [chunk async for chunk in utterance]


async def test_the_next_engine_finishes_the_sentence() -> None:
    first, second = WordSynthesizer("first", 0.1, dies_at=2), WordSynthesizer("second", 0.2)
    chunks = await speak(FallbackSynthesizer([first, second]))
    assert [TEXT[chunk.text_start : chunk.text_end] for chunk in chunks] == ["one ", "two ", "three ", "four"]
    assert [round(float(chunk.samples[0]), 1) for chunk in chunks] == [0.1, 0.1, 0.2, 0.2]
    assert second.spoken == [("three four", "second en")]


async def test_a_word_that_broke_off_is_spoken_again_but_told_once() -> None:
    first, second = WordSynthesizer("first", 0.1, dies_at=2, knows=len("one tw")), WordSynthesizer("second", 0.2)
    chunks = await speak(FallbackSynthesizer([first, second]))
    assert second.spoken[0][0] == "two three four"
    assert [TEXT[chunk.text_start : chunk.text_end] for chunk in chunks] == ["one ", "tw", "o ", "three ", "four"]


async def test_an_engine_that_dies_behind_the_last_word_is_not_missed() -> None:
    first, second = WordSynthesizer("first", 0.1, dies_at=4), WordSynthesizer("second", 0.2)
    assert len(await speak(FallbackSynthesizer([first, second]))) == 4
    assert second.spoken == []


@pytest.mark.parametrize("error", [EngineBusy("full"), SynthesisError("answered 401: check the key")])
async def test_an_engine_that_refuses_is_skipped_and_comes_last_afterwards(
    error: SynthesisError, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = WordSynthesizer("first", 0.1, refuses_with=error), WordSynthesizer("second", 0.2)
    engine = FallbackSynthesizer([first, second])
    await speak(engine)
    await speak(engine)
    assert (len(first.spoken), len(second.spoken)) == (1, 2)
    assert caplog.messages == [f"speech failed, falling back to the next engine: {error}"]
    assert caplog.records[0].levelname == "WARNING"


@pytest.mark.parametrize("kind", [VoiceNotFound, LanguageNotSupported, TextRejected])
async def test_what_is_wrong_with_the_text_or_voice_is_told(kind: type[SynthesisError]) -> None:
    first, second = WordSynthesizer("first", 0.1, refuses_with=kind("no")), WordSynthesizer("second", 0.2)
    with pytest.raises(kind):
        await speak(FallbackSynthesizer([first, second]))
    assert second.spoken == []


async def test_without_a_fallback_the_failure_is_raised() -> None:
    with pytest.raises(EngineUnreachable):
        await speak(FallbackSynthesizer([WordSynthesizer("first", 0.1, dies_at=1)]))


async def test_a_fallback_is_held_if_the_utterance_was() -> None:
    first, second = WordSynthesizer("first", 0.1, dies_at=1), WordSynthesizer("second", 0.2)
    async with FallbackSynthesizer([first, second]).speak(TEXT, voice="first en", language="en") as utterance:
        await anext(utterance)
        utterance.hold()
        await anext(utterance)
        utterance.cancel()
    assert second.utterances[0].calls == ["hold", "cancel", "left"]


def test_engines_of_different_rates_cannot_fall_back_to_each_other() -> None:
    other = WordSynthesizer("other", 0.1)
    other.sample_rate_hz = 16_000
    with pytest.raises(ValueError, match="one sample rate"):
        FallbackSynthesizer([WordSynthesizer("first", 0.1), other])
