"""Frames of samples into chunks, each with the span of text that it speaks, by share of the characters."""

import numpy as np
from numpy.typing import NDArray

from tts.interface import SpeechChunk

_TAIL_MS = 10
_FIRST_GUESS = 1.2  # characters a frame: 500 characters in 33 s
_WEIGHT_OF_LATEST = 0.2


class SpeakingRate:
    """Characters per frame, a running average over finished utterances."""

    def __init__(self) -> None:
        self.characters_per_frame = _FIRST_GUESS

    def learn(self, characters: int, frames: int) -> None:
        """An utterance of so many characters took so many frames."""
        self.characters_per_frame += _WEIGHT_OF_LATEST * (characters / frames - self.characters_per_frame)

    def frames(self, characters: int) -> int:
        """How many frames that many characters should take, at least 1."""
        return max(1, round(characters / self.characters_per_frame))


class ChunkCutter:
    """Cuts one utterance into chunks whose spans join and end exactly at the text's end.

    That an utterance is over is known one frame late, so a tail of 10 ms is always kept back: the last chunk is that
    tail, with what is left of the text.
    """

    def __init__(self, text: str, expected_frames: int, sample_rate_hz: int) -> None:
        self._text_length = len(text)
        self._expected_frames = expected_frames
        self._tail_samples = sample_rate_hz * _TAIL_MS // 1000
        self._tail = np.zeros(0, np.float32)
        self._text_position = 0
        self.frames = 0

    def add(self, frame: NDArray[np.float32]) -> SpeechChunk:
        """The chunk to deliver when this frame, [S] with S > 10 ms, has been synthesized; it is clipped to [-1, 1]."""
        self.frames += 1
        samples = np.concatenate((self._tail, np.clip(frame, -1.0, 1.0)))
        self._tail = samples[-self._tail_samples :]
        spoken = self._text_length * self.frames // max(self._expected_frames, self.frames + 1)
        return self._chunk(samples[: -self._tail_samples], max(self._text_position, min(spoken, self._text_length - 1)))

    def last(self) -> SpeechChunk:
        """What was kept back, once at least one frame was added."""
        return self._chunk(self._tail, self._text_length)

    def _chunk(self, samples: NDArray[np.float32], text_end: int) -> SpeechChunk:
        start, self._text_position = self._text_position, text_end
        return SpeechChunk(samples, start, text_end)
