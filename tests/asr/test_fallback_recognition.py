"""A list of recognizers as one: not a word of the turn is lost with the engine that was hearing it."""

import asyncio
from types import TracebackType
from typing import Self

import numpy as np
import pytest
from numpy.typing import NDArray

from asr.fallback import FallbackRecognizer
from asr.interface import AudioRejected, EngineUnreachable, LanguageNotSupported, RecognitionError, Transcript

GONE = EngineUnreachable("gone")
REFUSED = RecognitionError("answered 401: check the key")


class CountingRecognition:
    """The final transcript of a turn is its number of samples; may fail at the first flush instead."""

    def __init__(self, error: Exception | None) -> None:
        self.error = error
        self._heard = 0
        self._before = 0
        self._finals: asyncio.Queue[Transcript] = asyncio.Queue()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Transcript:
        final = await self._finals.get()
        if self.error:
            raise self.error
        return final

    def push(self, samples: NDArray[np.float32]) -> None:
        self._heard += len(samples)

    def flush(self) -> None:
        turn = self._heard - self._before
        self._finals.put_nowait(Transcript(str(turn), True, self._before, self._heard))
        self._before = self._heard


class CountingRecognizer:
    def __init__(self, error: Exception | None = None) -> None:
        self._error = error
        self.opened = 0

    def listen(self, *, language: str | None = None) -> CountingRecognition:
        self.opened += 1
        return CountingRecognition(self._error)


def samples(count: int) -> NDArray[np.float32]:
    return np.zeros(count, np.float32)


async def test_the_next_engine_hears_the_turn_from_its_beginning() -> None:
    first, second = CountingRecognizer(GONE), CountingRecognizer()
    async with FallbackRecognizer([first, second]).listen() as stream:
        stream.push(samples(100))
        stream.push(samples(50))
        stream.flush()
        final = await anext(stream)
    assert (final.text, final.start_samples, final.end_samples) == ("150", 0, 150)
    assert (first.opened, second.opened) == (1, 1)


async def test_turns_that_were_transcribed_are_not_heard_again() -> None:
    class DiesLater(CountingRecognizer):
        def listen(self, *, language: str | None = None) -> CountingRecognition:
            self.stream = super().listen(language=language)
            return self.stream

    first, second = DiesLater(), CountingRecognizer()
    async with FallbackRecognizer([first, second]).listen() as stream:
        stream.push(samples(100))
        stream.flush()
        assert (await anext(stream)).text == "100"
        stream.push(samples(30))
        first.stream.error = GONE
        stream.flush()
        final = await anext(stream)
    assert (final.text, final.start_samples, final.end_samples) == ("30", 100, 130)


async def test_without_a_fallback_the_failure_is_raised() -> None:
    async with FallbackRecognizer([CountingRecognizer(GONE)]).listen() as stream:
        stream.flush()
        with pytest.raises(EngineUnreachable):
            await anext(stream)


class ClosedRecognizer(CountingRecognizer):
    """Lets nobody in."""

    def listen(self, *, language: str | None = None) -> CountingRecognition:
        self.opened += 1
        raise REFUSED


@pytest.mark.parametrize("refusing", [ClosedRecognizer(), CountingRecognizer(REFUSED)])
async def test_a_refused_key_is_noted_once_and_not_noticed(
    refusing: CountingRecognizer, caplog: pytest.LogCaptureFixture
) -> None:
    engine = FallbackRecognizer([refusing, CountingRecognizer()])
    for _ in range(2):
        async with engine.listen() as stream:
            stream.push(samples(100))
            stream.flush()
            assert (await anext(stream)).text == "100"
    assert refusing.opened == 1
    assert caplog.messages == [f"recognition failed, falling back to the next engine: {REFUSED}"]
    assert caplog.records[0].levelname == "WARNING"


async def test_an_engine_without_the_language_is_passed_over_and_tried_again() -> None:
    english = CountingRecognizer(LanguageNotSupported("English only"))
    engine = FallbackRecognizer([english, CountingRecognizer()])
    for _ in range(2):
        async with engine.listen(language="fr") as stream:
            stream.push(samples(100))
            stream.flush()
            assert (await anext(stream)).text == "100"
    assert english.opened == 2


async def test_what_is_wrong_with_the_audio_is_told() -> None:
    spare = CountingRecognizer()
    async with FallbackRecognizer([CountingRecognizer(AudioRejected("not finite")), spare]).listen() as stream:
        stream.flush()
        with pytest.raises(AudioRejected):
            await anext(stream)
    assert spare.opened == 0


class Recovers(CountingRecognizer):
    """Fails in its first stream, and is healthy again when `Health` next looks."""

    def listen(self, *, language: str | None = None) -> CountingRecognition:
        stream = super().listen(language=language)
        if self.opened > 1:
            stream.error = None
        return stream


async def test_between_turns_it_goes_back_to_the_preferred_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llm.failover.COOL_DOWN_S", 0.0)
    first, second = Recovers(GONE), CountingRecognizer()
    async with FallbackRecognizer([first, second]).listen() as stream:
        stream.push(samples(100))
        stream.flush()
        assert (await anext(stream)).text == "100"
        assert (first.opened, second.opened) == (1, 1)
        stream.push(samples(30))  # heard by the fallback, and by its successor
        stream.flush()
        final = await anext(stream)
        assert (first.opened, second.opened) == (2, 1)
        stream.push(samples(5))
        stream.flush()
        later = await anext(stream)
    assert (final.text, final.start_samples, final.end_samples) == ("30", 100, 130)
    assert (later.text, later.start_samples, later.end_samples) == ("5", 130, 135)
    assert (first.opened, second.opened) == (2, 1)


async def test_while_the_preferred_engine_is_unhealthy_the_fallback_listens_on() -> None:
    first, second = Recovers(GONE), CountingRecognizer()
    async with FallbackRecognizer([first, second]).listen() as stream:
        for count in (100, 30, 5):
            stream.push(samples(count))
            stream.flush()
            assert (await anext(stream)).text == str(count)
    assert (first.opened, second.opened) == (1, 1)


async def test_an_engine_that_still_refuses_costs_the_call_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llm.failover.COOL_DOWN_S", 0.0)
    first, second = ClosedRecognizer(), CountingRecognizer()
    async with FallbackRecognizer([first, second]).listen() as stream:
        for count in (100, 30):
            stream.push(samples(count))
            stream.flush()
            assert (await anext(stream)).text == str(count)
    assert (first.opened, second.opened) == (2, 1)


async def test_an_engine_without_the_language_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    class English(CountingRecognizer):
        def listen(self, *, language: str | None = None) -> CountingRecognition:
            self.opened += 1
            raise LanguageNotSupported("English only")

    first, second = English(), CountingRecognizer()
    async with FallbackRecognizer([first, second]).listen(language="fr") as stream:
        for count in (100, 30, 5):
            stream.push(samples(count))
            stream.flush()
            assert (await anext(stream)).text == str(count)
    assert (first.opened, second.opened) == (1, 1)
