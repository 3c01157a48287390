"""Engines that do what the test says: a model with replies to give, and a synthesizer whose samples can be counted."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import numpy as np

from llm.interface import AS_SET, Ending, Message, Sampling, TextDelta, Tool, ToolCall
from tts.interface import SpeechChunk, Voice

RATE_HZ = 24_000
CHUNK_SAMPLES = 1920  # 80 ms
CHUNKS_PER_WORD = 4


class ScriptedReply:
    """One reply; an exception among its parts is raised in its place."""

    def __init__(self, parts: Sequence[TextDelta | ToolCall | Exception], ending: Ending) -> None:
        self._parts = iter(parts)
        self.ending = ending
        self.is_left = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.cancel()
        self.is_left = True

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> TextDelta | ToolCall:
        part = next(self._parts, None)
        if part is None:
            raise StopAsyncIteration
        if isinstance(part, Exception):
            raise part
        return part

    def cancel(self) -> None:
        self._parts = iter(())


@dataclass
class ScriptedModel:
    """Answers with the scripts in turn, then with nothing, and notes what it was asked."""

    scripts: list[Sequence[TextDelta | ToolCall | Exception]] = field(default_factory=list)
    ending: Ending = field(default_factory=Ending)  # of every reply
    asked: list[Sequence[Message]] = field(default_factory=list)
    samplings: list[Sampling] = field(default_factory=list)
    replies: list[ScriptedReply] = field(default_factory=list)

    def reply(
        self, messages: Sequence[Message], tools: Sequence[Tool] = (), sampling: Sampling = AS_SET
    ) -> ScriptedReply:
        self.asked.append(tuple(messages))
        self.samplings.append(sampling)
        self.replies.append(ScriptedReply(self.scripts.pop(0) if self.scripts else [], self.ending))
        return self.replies[-1]


class SteadyUtterance:
    """Chunks of 80 ms, as fast as they are taken."""

    def __init__(self, owner: "SteadySynthesizer", text: str) -> None:
        self._owner = owner
        self._chunks = chunks_of(text)
        self._next = 0
        self._may_go = asyncio.Event()
        self._may_go.set()
        self.is_cancelled = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.cancel()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SpeechChunk:
        await self._may_go.wait()
        if self.is_cancelled or self._next == len(self._chunks):
            raise StopAsyncIteration
        self._next += 1
        self._owner.chunks_made += 1
        return self._chunks[self._next - 1]

    def hold(self) -> None:
        self._may_go.clear()

    def resume(self) -> None:
        self._may_go.set()

    def cancel(self) -> None:
        self.is_cancelled = True
        self._may_go.set()


class SteadySynthesizer:
    """Every word takes 320 ms, and every sample is 0.5: what is missing, repeated or lowered shows."""

    sample_rate_hz = RATE_HZ
    voices = (Voice("test", "en"), Voice("essai", "fr"), Voice("essayeur", "fr"))

    def __init__(self) -> None:
        self.spoken: list[str] = []
        self.voices_used: list[tuple[str, str]] = []
        self.chunks_made = 0

    def speak(self, text: str, *, voice: str, language: str) -> SteadyUtterance:
        self.spoken.append(text)
        self.voices_used.append((voice, language))
        return SteadyUtterance(self, text)


def chunks_of(text: str) -> list[SpeechChunk]:
    """The text as chunks; the last chunk of each word completes it."""
    chunks: list[SpeechChunk] = []
    position = 0
    words = text.split(" ")
    for index, word in enumerate(words):
        end = position + len(word) + (index < len(words) - 1)
        for part in range(CHUNKS_PER_WORD):
            is_last = part == CHUNKS_PER_WORD - 1
            chunks.append(SpeechChunk(np.full(CHUNK_SAMPLES, 0.5, np.float32), position, end if is_last else position))
        position = end
    return chunks
