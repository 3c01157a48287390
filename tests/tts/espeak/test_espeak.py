"""eSpeak NG's engine: its process, its voices, the words' times."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from tests.fakes import PATIENCE_S
from tts.config import EspeakConfig
from tts.espeak.engine import LONGEST_CHUNK, SAMPLE_RATE_HZ, EspeakSynthesizer
from tts.espeak.process import EspeakProcess, Rendering, find_espeak
from tts.espeak.timing import Span, chunk_spans, clause_ends, pause_after, trim_start, word_spans
from tts.espeak.voices import VOICES, default_voice, espeak_voice
from tts.interface import EngineBusy, EngineUnreachable, SpeechChunk, SynthesisError

LANGUAGES = ("en", "fr", "es", "de", "it", "pt", "nl", "ar", "hi")


@pytest.fixture
async def engine() -> AsyncIterator[EspeakSynthesizer]:
    async with EspeakSynthesizer(EspeakConfig()) as engine:
        yield engine


@pytest.fixture
async def process() -> AsyncIterator[EspeakProcess]:
    process = EspeakProcess(answer_timeout_s=PATIENCE_S)
    yield process
    await process.stop()


async def speak(engine: EspeakSynthesizer, text: str, voice: str = "en_female") -> list[SpeechChunk]:
    async with engine.speak(text, voice=voice, language="en") as utterance:
        return [chunk async for chunk in utterance]


def spoken_words(text: str, chunks: list[SpeechChunk]) -> list[str]:
    spans = (text[chunk.text_start : chunk.text_end] for chunk in chunks)
    return [span for span in spans if span]


async def test_each_chunk_carries_the_words_it_ends(engine: EspeakSynthesizer) -> None:
    for text, words in (
        ("Hello world.", ["Hello ", "world."]),
        ("I have 42 apples & 3 pears.", ["I ", "have ", "42 ", "apples ", "& ", "3 ", "pears."]),
        ("“Oh!” — she said…", ["“Oh!” — ", "she ", "said…"]),
        ("a <b>bold</b> word", ["a ", "<b>bold</b> ", "word"]),
        ("  spaced   out  ", ["  spaced   ", "out  "]),
        ("nul\x00in\ud800side", ["nul\x00in\ud800side"]),
        ("héllo wörld 🙂 there", ["héllo ", "wörld ", "🙂 ", "there"]),
    ):
        assert spoken_words(text, await speak(engine, text)) == words, text


async def test_word_times_are_exact(engine: EspeakSynthesizer) -> None:
    """The audio up to where a word ends is the audio of the same text; the next word starts there."""
    text = "seven, eleven"
    chunks = await speak(engine, text)
    border = sum(len(chunk.samples) for chunk in chunks[: [chunk.text_end for chunk in chunks].index(7) + 1])
    audio = np.concatenate([chunk.samples for chunk in chunks])
    window = SAMPLE_RATE_HZ * 20 // 1000
    before, after = audio[border - window : border], audio[border : border + 3 * window]
    assert np.abs(before).max() < 0.02  # the comma's pause ends here
    assert np.abs(after).max() > 0.05


async def test_the_first_clause_is_delivered_before_the_second_is_asked_for(
    engine: EspeakSynthesizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    render = EspeakProcess.render

    async def noting(process: EspeakProcess, text: str, voice: str, words_per_minute: int) -> Rendering:
        asked.append(text)
        return await render(process, text, voice, words_per_minute)

    monkeypatch.setattr(EspeakProcess, "render", noting)
    text = "This is a sentence of some length. " * 10
    async with engine.speak(text, voice="en_female", language="en") as utterance:
        await anext(utterance)
        assert len(asked) == 1
        assert [chunk async for chunk in utterance][-1].text_end == len(text)
    assert "".join(asked) == text
    assert len(asked) > 1


async def test_starts_with_sound_and_ends_with_the_pause_of_a_sentence(engine: EspeakSynthesizer) -> None:
    audio = np.concatenate([chunk.samples for chunk in await speak(engine, "Yes.")])
    loud = np.flatnonzero(np.abs(audio) > 0.002)
    assert loud[0] <= SAMPLE_RATE_HZ * 6 // 1000
    assert 0.2 < (len(audio) - loud[-1]) / SAMPLE_RATE_HZ < 0.4


async def test_a_long_text_is_spoken_clause_by_clause(engine: EspeakSynthesizer) -> None:
    text = "One two three four five. " * 40 + "x" * 400
    chunks = await speak(engine, text)
    assert chunks[-1].text_end == len(text)
    assert "".join(spoken_words(text, chunks)) == text
    assert max(len(chunk.samples) for chunk in chunks) <= LONGEST_CHUNK


async def test_every_language_has_a_man_and_a_woman(engine: EspeakSynthesizer) -> None:
    for language in LANGUAGES:
        voices = [voice.name for voice in VOICES if voice.language == language]
        assert {f"{language}_female", f"{language}_male"} <= {*voices}, language
        assert default_voice(language) in voices, language
        audio = []
        for voice in voices:
            async with engine.speak("1 2 3", voice=voice, language=language) as utterance:
                audio.append(np.concatenate([chunk.samples async for chunk in utterance]))
        assert len({samples.tobytes() for samples in audio}) == len(voices), language


async def test_a_voice_speaks_other_languages(engine: EspeakSynthesizer) -> None:
    assert espeak_voice("en_male", "fr-FR") == "fr+m3"
    assert espeak_voice("en_gb_male", "en-GB") == "en-gb-x-rp+m3"
    assert espeak_voice("en_gb_male", "de_DE") == "de+m3"


async def test_the_process_is_replaced_after_a_crash(engine: EspeakSynthesizer, process: EspeakProcess) -> None:
    first = (await process.render("one", "en-us", 165)).samples
    pid = process.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)  # so that it dies in the middle of an answer
    async with asyncio.TaskGroup() as tasks:
        rendering = tasks.create_task(outcome(process))
        await asyncio.sleep(0)
        os.kill(pid, signal.SIGKILL)
        assert isinstance(await rendering, EngineUnreachable)
    np.testing.assert_array_equal((await process.render("one", "en-us", 165)).samples, first)
    assert process.pid != pid


async def outcome(process: EspeakProcess) -> Exception | None:
    try:
        await process.render("two", "en-us", 165)
    except SynthesisError as error:
        return error
    return None


async def test_a_process_that_does_not_answer_is_replaced() -> None:
    impatient, patient = 0.2, PATIENCE_S
    process = EspeakProcess(answer_timeout_s=impatient)
    await process.start()
    assert process.pid is not None
    os.kill(process.pid, signal.SIGSTOP)
    with pytest.raises(EngineUnreachable, match="does not answer"):
        await process.render("one", "en-us", 165)
    process._answer_timeout_s = patient  # the replacement is to be given the time that a busy machine takes
    assert (await process.render("one", "en-us", 165)).samples.size
    await process.stop()
    await process.stop()


async def test_a_cancelled_rendering_leaves_the_next_one_right(process: EspeakProcess) -> None:
    expected = (await process.render("two", "en-us", 165)).samples
    for spins in range(8):
        async with asyncio.TaskGroup() as tasks:
            cancelled = tasks.create_task(process.render("a longer text to be cancelled " * 4, "en-us", 165))
            for _ in range(spins):
                await asyncio.sleep(0.001)
            cancelled.cancel()
        np.testing.assert_array_equal((await process.render("two", "en-us", 165)).samples, expected)


async def test_a_voice_that_espeak_lacks_is_refused_and_named(process: EspeakProcess) -> None:
    with pytest.raises(SynthesisError, match="no voice 'martian'"):
        await process.render("one", "martian", 165)


async def test_utterances_beyond_the_limit_are_refused_as_busy() -> None:
    async with EspeakSynthesizer(EspeakConfig(utterances=1)) as engine:
        async with engine.speak("one", voice="en_male", language="en"):
            with pytest.raises(EngineBusy, match="all 1 utterances"):
                await speak(engine, "two")
        assert await speak(engine, "two")


async def test_a_data_folder_with_a_long_path_is_found(
    process: EspeakProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library, data = find_espeak()
    assert data is not None
    folder = tmp_path / ("x" * 100) / ("y" * 100)
    folder.mkdir(parents=True)
    (folder / "espeak-ng-data").symlink_to(data)
    monkeypatch.setattr("tts.espeak.process.find_espeak", lambda: (library, str(folder / "espeak-ng-data")))
    assert (await process.render("one", "en-us", 165)).samples.size


async def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tts.espeak.process.find_espeak", lambda: ("/nowhere/libespeak-ng.so", None))
    with pytest.raises(EngineUnreachable, match=r"nowhere/libespeak-ng\.so"):
        await EspeakSynthesizer(EspeakConfig()).__aenter__()


async def test_none_installed_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tts.espeak.process.importlib.util.find_spec", lambda _: None)
    monkeypatch.setattr("tts.espeak.process.find_library", lambda _: None)
    with pytest.raises(EngineUnreachable, match="pip install espeakng-loader"):
        find_espeak()


def test_marks_inside_a_word_and_marks_out_of_order_make_no_borders() -> None:
    spans = word_spans("ab 42 cd", [(0, 0), (3, 100), (4, 150), (1, 170), (6, 200), (6, 250)], 300)
    assert spans == [Span(0, 100, 0, 3), Span(100, 200, 3, 6), Span(200, 300, 6, 8)]


def test_without_marks_the_whole_is_one_span() -> None:
    assert word_spans("...", [], 10) == [Span(0, 10, 0, 3)]


def test_the_last_chunk_of_a_word_carries_it() -> None:
    assert [*chunk_spans([Span(0, 250, 0, 4)], 100)] == [Span(0, 100, 0, 0), Span(100, 200, 0, 0), Span(200, 250, 0, 4)]


def test_long_texts_are_cut_after_sentences_words_or_where_they_must() -> None:
    for text, ends in (
        ("short", [5]),
        ("One two. Three four five", [8, 24]),
        ("no sentence ends in here at all", [20, 31]),
        ("x" * 45, [20, 40, 45]),
    ):
        assert [*clause_ends(text, 20)] == ends, text


def test_only_the_first_silence_is_trimmed() -> None:
    samples = np.array([0, 0, 0, 0, 1, 0, 1], np.float32)
    trimmed, spans = trim_start(samples, [Span(0, 6, 0, 2), Span(6, 7, 2, 3)], 0.5, 1)
    assert trimmed.tolist() == [0, 1, 0, 1]
    assert spans == [Span(0, 3, 0, 2), Span(3, 4, 2, 3)]


def test_pauses_follow_the_punctuation() -> None:
    for clause, pause_ms in (
        ("Yes.", 240),
        ("well,", 120),
        ("and", 0),
        ("“Really?” ", 240),
    ):
        assert pause_after(clause) == SAMPLE_RATE_HZ * pause_ms // 1000, clause
