"""pocketsphinx's engine: what it understands of synthetic voices, when, and what it survives."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Coroutine
from itertools import product

import numpy as np
import pytest
import pytest_asyncio
import soxr
from numpy.typing import NDArray

from asr.config import SphinxConfig
from asr.interface import SAMPLE_RATE_HZ, EngineUnreachable, LanguageNotSupported, Recognition, Transcript
from asr.sphinx.engine import SphinxRecognizer
from llm.demo.grammar import training_sentences
from tts.config import EspeakConfig
from tts.espeak.engine import EspeakSynthesizer

pytestmark = pytest.mark.asyncio(loop_scope="module")  # that of the engine, which takes a second to start

INSIDE = (
    "what time is it",
    "what's the date today",
    "what is twelve times seven",
    "spell the word elephant",
    "count to twenty",
    "tell me a story",
    "say that again",
    "i would like to book a table",
    "book a table for four on friday at seven",
    "next friday",
    "for six people",
    "yes please",
    "okay",
    "stop",
    "wait",
    "hold on",
    "continue",
    "who are you",
    "thank you",
    "stop please",
)
OUTSIDE = (
    "the president of the company resigned yesterday",
    "my grandmother lives in a small house by the forest",
    "please turn off the lights in the bedroom",
    "i lost my keys somewhere in the parking lot",
    "the stock market fell sharply",
    "we should invest in renewable energy",
    "my flight was delayed by three hours",
    "write an email to my boss",
)
PRE_ROLL = np.zeros(SAMPLE_RATE_HZ * 300 // 1000, np.float32)
TAIL = np.zeros(SAMPLE_RATE_HZ * 200 // 1000, np.float32)

Say = Callable[[str, str], Coroutine[None, None, NDArray[np.float32]]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def say() -> AsyncIterator[Say]:
    """Speech at 16 kHz between the silences that voice detection leaves: `say(words, voice)`."""
    async with EspeakSynthesizer(EspeakConfig()) as synthesizer:

        async def speech(words: str, voice: str) -> NDArray[np.float32]:
            async with synthesizer.speak(words, voice=voice, language="en") as utterance:
                samples = np.concatenate([chunk.samples async for chunk in utterance])
            spoken = np.float32(0.5) * soxr.resample(samples, 24_000, SAMPLE_RATE_HZ)
            return np.concatenate([PRE_ROLL, spoken, TAIL]).astype(np.float32)

        yield speech


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine() -> AsyncIterator[SphinxRecognizer]:
    async with SphinxRecognizer(SphinxConfig(), training_sentences()) as engine:
        yield engine


async def hear(stream: Recognition, samples: NDArray[np.float32]) -> list[Transcript]:
    """All transcripts of one turn; every partial is read before more is pushed."""
    transcripts: list[Transcript] = []

    async def read() -> None:
        async for transcript in stream:
            transcripts.append(transcript)
            if transcript.is_final:
                return

    async with asyncio.timeout(60.0), asyncio.TaskGroup() as tasks:
        tasks.create_task(read())
        for start in range(0, len(samples), 320):
            stream.push(samples[start : start + 320])
            await asyncio.sleep(0.002)
        stream.flush()
    return transcripts


def word_errors(said: str, heard: str) -> int:
    """Levenshtein distance in words."""
    wanted, found = said.split(), heard.split()
    row = [*range(len(found) + 1)]
    for i, word in enumerate(wanted):
        before, row[0] = row[0], i + 1
        for j, other in enumerate(found):
            before, row[j + 1] = row[j + 1], min(row[j + 1] + 1, row[j] + 1, before + (word != other))
    return row[-1]


async def test_understands_the_domain_and_doubts_what_lies_outside(engine: SphinxRecognizer, say: Say) -> None:
    for voice, most in (("en_male", 0.15), ("en_female", 0.10)):
        async with engine.listen(language="en-US") as stream:
            inside = [(await hear(stream, await say(words, voice)))[-1] for words in INSIDE]
        errors = sum(word_errors(words, found.text) for words, found in zip(INSIDE, inside, strict=True))
        assert errors <= most * sum(len(words.split()) for words in INSIDE), voice
    async with engine.listen() as stream:
        outside = [(await hear(stream, await say(words, "en_female")))[-1] for words in OUTSIDE]
    assert sum((found.confidence or 0.0) >= 0.5 for found in inside) >= 0.85 * len(INSIDE)
    assert sum(found.confidence is not None and found.confidence < 0.5 for found in outside) >= 0.7 * len(OUTSIDE)


async def test_a_word_is_in_a_partial_before_the_pause(engine: SphinxRecognizer, say: Say) -> None:
    for word in ("stop", "wait", "okay"):
        samples = await say(word, "en_female")
        last_sound = int(np.flatnonzero(np.abs(samples) > 0.005)[-1])
        async with engine.listen() as stream:
            transcripts = await hear(stream, samples)
        seen = [transcript.end_samples for transcript in transcripts if transcript.text == word]
        assert seen[0] <= last_sound + SAMPLE_RATE_HZ * 150 // 1000, word
        assert transcripts[-1].text == word


async def test_a_hum_of_assent_is_no_other_word(engine: SphinxRecognizer, say: Say) -> None:
    for voice, (said, heard) in product(
        ("en_male", "en_female"), (("mahm", "mhm"), ("mahhahm", "mhm"), ("uh-huh", "uh huh"))
    ):
        async with engine.listen() as stream:
            await hear(stream, await say("tell me a story", voice))
            assert (await hear(stream, await say(said, voice)))[-1].text == heard, voice


async def test_partials_are_paced(engine: SphinxRecognizer, say: Say) -> None:
    async with engine.listen() as stream:
        *partials, final = await hear(stream, await say("book a table for four on friday at seven", "en_female"))
    assert len(partials) >= 3
    gaps = np.diff([partial.end_samples for partial in partials])
    assert gaps.min() >= SAMPLE_RATE_HZ * 80 // 1000
    assert not any(partial.is_final for partial in partials)
    assert final.text.split() == [word.text for word in final.words]


async def test_words_lie_where_they_were_said(engine: SphinxRecognizer, say: Say) -> None:
    async with engine.listen() as stream:
        stream.push(PRE_ROLL)
        stream.flush()
        samples = await say("stop", "en_female")
        sound = np.flatnonzero(np.abs(samples) > 0.005) + len(PRE_ROLL)
        await anext(stream)
        (word,) = (await hear(stream, samples))[-1].words
    assert abs(word.start_samples - sound[0]) < SAMPLE_RATE_HZ * 150 // 1000
    assert abs(word.end_samples - sound[-1]) < SAMPLE_RATE_HZ * 250 // 1000


async def test_a_callers_voice_is_not_mixed_up_with_anothers(engine: SphinxRecognizer, say: Say) -> None:
    samples = await say("what time is it", "en_female")
    async with engine.listen() as stream:
        alone = await hear(stream, samples)
    async with engine.listen() as loud:
        await hear(loud, np.clip(samples * 8, -1, 1))
    async with engine.listen() as stream:
        after = (await hear(stream, samples))[-1]
    assert (after.text, after.words) == (alone[-1].text, alone[-1].words)
    assert after.confidence == pytest.approx(alone[-1].confidence, abs=0.01)


async def test_only_english_is_understood(engine: SphinxRecognizer) -> None:
    with pytest.raises(LanguageNotSupported, match="'fr'"):
        engine.listen(language="fr")


async def test_a_crash_costs_the_streams_and_is_mended_by_the_next(engine: SphinxRecognizer, say: Say) -> None:
    async with engine.listen() as stream:
        stream.push(PRE_ROLL)
        stream.flush()
        await anext(stream)
        os.kill(engine.pids[0], signal.SIGKILL)
        with pytest.raises(EngineUnreachable, match="ended"):
            await anext(stream)
        stream.push(PRE_ROLL)  # nobody hears it
        stream.flush()
    async with engine.listen() as stream:
        assert (await hear(stream, await say("stop", "en_female")))[-1].text == "stop"


async def test_a_process_that_does_not_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asr.sphinx.process._STOP_TIMEOUT_S", 0.1)
    async with SphinxRecognizer(SphinxConfig(answer_timeout_s=0.2), ("hello",)) as engine, engine.listen() as stream:
        os.kill(engine.pids[0], signal.SIGSTOP)
        stream.push(PRE_ROLL)
        stream.flush()
        with pytest.raises(EngineUnreachable, match="does not answer"):
            await anext(stream)


async def test_more_audio_than_can_be_decoded_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asr.sphinx.process._LONGEST_BACKLOG_BYTES", 1 << 20)
    monkeypatch.setattr("asr.sphinx.process._STOP_TIMEOUT_S", 0.1)
    async with SphinxRecognizer(SphinxConfig(), ("hello",)) as engine, engine.listen() as stream:
        os.kill(engine.pids[0], signal.SIGSTOP)
        for _ in range(400):
            stream.push(np.zeros(SAMPLE_RATE_HZ // 5, np.float32))
        with pytest.raises(EngineUnreachable, match="behind"):
            await anext(stream)


async def test_transcripts_that_nobody_reads_are_bounded(engine: SphinxRecognizer) -> None:
    async with engine.listen() as stream, engine.listen() as other:
        for _ in range(300):
            stream.flush()
        other.flush()
        await anext(other)
        read = 0
        with pytest.raises(EngineUnreachable, match="read them as they come"):
            while await anext(stream):
                read += 1
        assert 0 < read < 150


async def test_a_word_without_a_pronunciation_is_named() -> None:
    with pytest.raises(EngineUnreachable, match="qwrtz"):
        await SphinxRecognizer(SphinxConfig(), ("hello qwrtz",)).__aenter__()
