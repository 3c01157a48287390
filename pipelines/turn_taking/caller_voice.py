"""What is known of the caller's voice: whether it speaks or pauses, how it sounded, which transcripts are due."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from asr.interface import Transcript
from pipelines.config import VadConfig
from pipelines.frames import VoiceFrame
from pipelines.listening.silero import WINDOW_SAMPLES
from pipelines.listening.smart_turn import SmartTurn
from pipelines.listening.vad import SAMPLES_PER_MS, WINDOW_MS, RecentAudio
from pipelines.turn_taking.endpointing import Pause, PauseHabit

Spawn = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]


class CallerVoice:
    """Follows the voice of one caller.

    Args:
        recent: the last seconds of the microphone, for Smart Turn.
        smart_turn: None is never asked.
        spawn: starts a task whose owner ends it with the call.
    """

    def __init__(self, config: VadConfig, recent: RecentAudio, smart_turn: SmartTurn | None, spawn: Spawn) -> None:
        self._config = config
        self._recent = recent
        self._smart_turn = smart_turn
        self._spawn = spawn
        self._habit = PauseHabit()
        self._sounds_complete: bool | None = None
        self._last_speech = 0  # samples: the end of the last speech window
        self._last_gap = 0  # samples without speech before the latest stretch of it
        self._due = 0  # flushes whose final transcript is still to come
        self._ignored = 0  # of those, finals that nobody waits for
        self.opinion: asyncio.Task[None] | None = None  # Smart Turn being asked
        self.last_speech_at = 0.0  # the end of the last speech window on the event loop's clock
        self.speech_ms = 0  # since the last onset
        self.now_samples = 0
        self.is_paused = True  # since voice detection's last edge

    def window(self, window: VoiceFrame) -> None:
        """Take the next window."""
        self.now_samples = window.end_samples
        if window.is_speech:
            gap = window.end_samples - WINDOW_SAMPLES - self._last_speech
            self._last_gap = gap or self._last_gap
            self.speech_ms += WINDOW_MS
            self._last_speech = window.end_samples
            self.last_speech_at = asyncio.get_running_loop().time()

    def onset(self, *, is_in_turn: bool) -> None:
        """The voice begins, one window ago; a pause inside a turn is a habit of this caller's."""
        if self.is_paused and is_in_turn:
            self._habit = self._habit.after(self._last_gap / SAMPLES_PER_MS)
        self.is_paused = False
        self.speech_ms = self._config.onset_ms
        self._sounds_complete = None

    def pause(self, *, is_in_turn: bool) -> None:
        """The voice pauses, and the recogniser has been flushed; Smart Turn is asked about a turn."""
        self.is_paused = True
        self._due += 1
        if self._smart_turn and is_in_turn and not self.opinion:
            self.opinion = self._spawn(self._ask(self._smart_turn))

    def is_wanted(self, transcript: Transcript) -> bool:
        """Take note of a transcript, and tell whether it belongs to what is being judged."""
        if transcript.is_final:
            self._due = max(0, self._due - 1)
        if not self._ignored:
            return True
        self._ignored -= transcript.is_final
        return False

    def ignore_due(self) -> None:
        """The transcripts that are still to come are of no interest any more."""
        self._ignored = self._due

    def silence(self, words: str) -> Pause:
        """The pause as it is now, after these words."""
        return Pause(
            silence_ms=(self.now_samples - self._last_speech) // SAMPLES_PER_MS,
            words=words,
            is_transcribed=self._due == 0,
            sounds_complete=self._sounds_complete,
            usual_pause_ms=self._habit.usual_ms,
        )

    async def _ask(self, smart_turn: SmartTurn) -> None:
        asked_at = self._last_speech
        opinion = await smart_turn.sounds_complete(self._recent.latest(self.now_samples))
        if asked_at == self._last_speech:
            self._sounds_complete = opinion
        self.opinion = None
