"""Audio cut into utterances at its pauses."""

import asyncio
from typing import Self

import numpy as np
import pytest
from numpy.typing import NDArray

from agent.commands import transcribe as transcribe_module
from agent.commands.transcribe import PAUSE_MS, PRE_ROLL_MS, blocks_of, transcribe
from agent.errors import CommandError
from asr.interface import EngineUnreachable, Transcript
from pipelines.listening.silero import SAMPLE_RATE_HZ, WINDOW_SAMPLES
from tests.fakes import PATIENCE_S

Samples = NDArray[np.float32]
WINDOW_MS = WINDOW_SAMPLES * 1000 // SAMPLE_RATE_HZ


class LoudnessVAD:
    """In place of Silero: what is loud is speech."""

    def probability(self, window: Samples) -> float:
        return float(np.abs(window).max() > 0.1)


class FakeRecognition:
    """Answers each flush by the number of samples that it was given."""

    def __init__(self, answers: bool) -> None:
        self.answers = answers
        self.is_left = False
        self.utterances: list[Samples] = []
        self.pushed: list[Samples] = []
        self.finals: asyncio.Queue[Transcript | None] = asyncio.Queue()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.is_left = True

    def push(self, samples: Samples) -> None:
        self.pushed.append(samples)

    def flush(self) -> None:
        self.utterances.append(np.concatenate(self.pushed))
        self.pushed = []
        if self.answers:
            text = str(len(self.utterances[-1]))
            self.finals.put_nowait(Transcript(text, is_final=True, start_samples=0, end_samples=0))
        else:
            self.finals.put_nowait(None)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Transcript:
        final = await self.finals.get()
        if final is None:
            raise EngineUnreachable("the worker died")
        return final


class FakeRecognizer:
    def __init__(self, *, answers: bool = True) -> None:
        self.recognition = FakeRecognition(answers)

    def listen(self, *, language: str | None = None) -> FakeRecognition:
        return self.recognition


@pytest.fixture(autouse=True)
def loudness(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transcribe_module, "SileroStream", LoudnessVAD)


def sound(ms: int, level: float) -> Samples:
    return np.full(SAMPLE_RATE_HZ * ms // 1000, level, np.float32)


def script(*parts: tuple[int, float]) -> Samples:
    return np.concatenate([sound(ms, level) for ms, level in parts])


async def utterances_in(samples: Samples, recognizer: FakeRecognizer) -> list[Transcript]:
    transcripts: list[Transcript] = []
    async with asyncio.timeout(PATIENCE_S):
        await transcribe(recognizer, blocks_of(samples), language="en", on_transcript=transcripts.append)
    return transcripts


async def test_silence_is_never_pushed() -> None:
    recognizer = FakeRecognizer()
    assert await utterances_in(sound(3000, 0.0), recognizer) == []
    assert recognizer.recognition.utterances == []
    assert recognizer.recognition.is_left


async def test_a_pause_ends_an_utterance_and_a_breath_does_not() -> None:
    recognizer = FakeRecognizer()
    audio = script(
        (1000, 0.0), (500, 0.5), (PAUSE_MS // 2, 0.0), (500, 0.5), (PAUSE_MS + 300, 0.0), (500, 0.5), (96, 0.0)
    )
    transcripts = await utterances_in(audio, recognizer)
    assert len(transcripts) == 2
    loud_ms = [int((samples > 0.1).sum()) * 1000 // SAMPLE_RATE_HZ for samples in recognizer.recognition.utterances]
    assert loud_ms == [1000, 500]


async def test_an_utterance_begins_with_what_was_just_before_it() -> None:
    recognizer = FakeRecognizer()
    await utterances_in(script((1024, 0.0), (512, 0.5), (PAUSE_MS + 100, 0.0)), recognizer)
    (utterance,) = recognizer.recognition.utterances
    before_ms = int(np.argmax(utterance > 0.1)) * 1000 // SAMPLE_RATE_HZ
    assert PRE_ROLL_MS - WINDOW_MS <= before_ms <= PRE_ROLL_MS + WINDOW_MS


async def test_the_last_samples_are_pushed_although_they_fill_no_window() -> None:
    recognizer = FakeRecognizer()
    audio = np.concatenate((sound(512, 0.5), np.full(100, 0.9, np.float32)))
    await utterances_in(audio, recognizer)
    (utterance,) = recognizer.recognition.utterances
    np.testing.assert_array_equal(utterance, audio)


async def test_the_failure_of_an_engine_is_raised() -> None:
    with pytest.raises(ExceptionGroup) as caught:
        await utterances_in(sound(500, 0.5), FakeRecognizer(answers=False))
    assert caught.group_contains(EngineUnreachable)


async def test_an_engine_that_never_answers_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transcribe_module, "_FINAL_LIMIT_S", 0.01)
    recognizer = FakeRecognizer()
    monkeypatch.setattr(recognizer.recognition, "flush", lambda: None)
    with pytest.raises(ExceptionGroup) as caught:
        await utterances_in(sound(500, 0.5), recognizer)
    assert caught.group_contains(CommandError)
