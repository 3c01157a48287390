"""A text spoken into a sink, and the report on it."""

from collections.abc import Sequence
from typing import Self

import numpy as np
import pytest
from numpy.typing import NDArray

from agent.commands.say import choose_voice, say
from agent.errors import CommandError
from tts.interface import EngineUnreachable, SpeechChunk, Voice

Samples = NDArray[np.float32]


class FakeUtterance:
    def __init__(self, chunks: Sequence[Samples | Exception]) -> None:
        self.chunks = iter(chunks)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SpeechChunk:
        chunk = next(self.chunks, None)
        if chunk is None:
            raise StopAsyncIteration
        if isinstance(chunk, Exception):
            raise chunk
        return SpeechChunk(chunk, 0, 1)

    def hold(self) -> None: ...
    def resume(self) -> None: ...
    def cancel(self) -> None: ...


class FakeSynthesizer:
    sample_rate_hz = 24_000
    voices = (Voice("anna", "de"), Voice("bob", "en"), Voice("carol", "en"))

    def __init__(self, *chunks: Samples | Exception) -> None:
        self.chunks = chunks
        self.texts: list[str] = []

    def speak(self, text: str, *, voice: str, language: str) -> FakeUtterance:
        self.texts.append(text)
        return FakeUtterance(self.chunks)


class ListSink:
    """Remembers what it was given, and that it was closed."""

    def __init__(self) -> None:
        self.samples: list[Samples] = []
        self.is_closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.is_closed = True

    async def write(self, samples: Samples) -> None:
        self.samples.append(samples)


async def test_everything_spoken_reaches_the_sink() -> None:
    synthesizer, sink = FakeSynthesizer(np.zeros(2_400, np.float32), np.ones(21_600, np.float32)), ListSink()
    report = await say(synthesizer, "A **bold** word", voice="bob", language="en", sink=sink)
    assert [len(samples) for samples in sink.samples] == [2_400, 21_600]
    assert sink.is_closed
    assert report.audio_s == 1.0
    assert 0 < report.first_audio_ms / 1000 <= report.synthesis_s
    assert report.real_time_factor == report.synthesis_s
    assert "*" not in synthesizer.texts[0]


async def test_an_engine_that_fails_closes_the_sink() -> None:
    sink = ListSink()
    synthesizer = FakeSynthesizer(np.zeros(10, np.float32), EngineUnreachable("gone"))
    with pytest.raises(EngineUnreachable):
        await say(synthesizer, "Hello", voice="bob", language="en", sink=sink)
    assert sink.is_closed


async def test_silence_is_an_error_of_its_own() -> None:
    with pytest.raises(CommandError, match="spoke nothing"):
        await say(FakeSynthesizer(), "Hello", voice="bob", language="en", sink=ListSink())


def test_the_first_voice_of_the_language_is_chosen() -> None:
    assert choose_voice(FakeSynthesizer(), None, "en") == "bob"
    assert choose_voice(FakeSynthesizer(), "", "de") == "anna"
    assert choose_voice(FakeSynthesizer(), "carol", "en") == "carol"
    with pytest.raises(CommandError, match="found only de, en"):
        choose_voice(FakeSynthesizer(), None, "xx")
