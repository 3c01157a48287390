"""Turns the caller's voice into transcripts through the recognizer interface.

The microphone is gated by voice detection: the engine gets speech with a little audio from before it, and a flush at
every pause, so that the tail is decoded faster than real time and silence costs nothing. Not an STTService of
Pipecat's: that one waits for timers where every flush of ours is answered by exactly one final transcript.
"""

import asyncio
import logging
from collections import deque

import numpy as np
from pipecat.frames.frames import Frame, StartFrame, VADUserStartedSpeakingFrame, VADUserStoppedSpeakingFrame
from pipecat.processors.frame_processor import FrameDirection
from pipecat.services.ai_service import AIService
from pipecat.services.settings import ServiceSettings

from asr.interface import Recognition, RecognitionError, Recognizer, Transcript
from pipelines.events import CallEvents, EngineFailed
from pipelines.frames import CallerAudioFrame, TranscriptFrame
from webrtc.media.pcm import from_pcm16

_log = logging.getLogger(__name__)

PRE_ROLL_FRAMES = 20  # 400 ms: voice detection is 64 ms late, and the engine likes to hear a word from before its start


RETRY_SECONDS = 1.0  # between attempts to reopen a failed stream


class RecognitionService(AIService):
    """Recognition of one call. Swallows the caller's audio: nothing after it needs samples."""

    def __init__(self, recognizer: Recognizer, *, language: str | None, events: CallEvents) -> None:
        super().__init__(settings=ServiceSettings(model=None), enable_direct_mode=True)
        self._recognizer = recognizer
        self._language = language
        self._events = events
        self._stream: Recognition | None = None
        self._task: asyncio.Task[None] | None = None
        self._pre_roll: deque[CallerAudioFrame] = deque(maxlen=PRE_ROLL_FRAMES)
        self._is_open = False  # the gate
        self._flushes = 0  # not answered yet

    async def start(self, frame: StartFrame) -> None:
        """Open the stream."""
        await super().start(frame)
        self._task = self.create_task(self._listen())

    async def cleanup(self) -> None:
        """Leave the stream."""
        await super().cleanup()
        if self._task:
            await self.cancel_task(self._task)
            self._task = None

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Feed audio while there is voice; flush at a pause."""
        await super().process_frame(frame, direction)
        if isinstance(frame, CallerAudioFrame):
            self._hear(frame)
            return
        if isinstance(frame, VADUserStartedSpeakingFrame):
            self._is_open = True
            while self._pre_roll:
                self._push(self._pre_roll.popleft())
        await self.push_frame(frame, direction)
        if isinstance(frame, VADUserStoppedSpeakingFrame):
            self._is_open = False
            self._flushes += 1
            if self._stream:
                self._stream.flush()
            else:
                await self._answer_flushes()

    def _hear(self, frame: CallerAudioFrame) -> None:
        if self._is_open:
            self._push(frame)
        else:
            self._pre_roll.append(frame)

    def _push(self, frame: CallerAudioFrame) -> None:
        if self._stream:
            self._stream.push(from_pcm16(np.frombuffer(frame.audio, dtype=np.int16)))

    async def _listen(self) -> None:
        """Keep a stream open and publish what it hears; a failed one costs the words of one turn, not the call."""
        while True:
            try:
                async with self._recognizer.listen(language=self._language) as self._stream:
                    async for transcript in self._stream:
                        await self._publish(transcript)
            except RecognitionError as error:
                _log.warning("recognition failed, reopening: %s", error)
                self._events.emit(EngineFailed(self._events.now_ms, "asr", str(error)))
                await self.push_error(f"recognition failed: {error}", exception=error)
            self._stream = None
            await self._answer_flushes()
            await asyncio.sleep(RETRY_SECONDS)

    async def _answer_flushes(self) -> None:
        """Answer what a failed engine left open, with nothing."""
        while self._flushes:
            await self._publish(Transcript("", is_final=True, start_samples=0, end_samples=0))

    async def _publish(self, transcript: Transcript) -> None:
        if transcript.is_final:
            self._flushes = max(0, self._flushes - 1)
        await self.push_frame(TranscriptFrame(transcript))
