"""Hears whether the caller speaks: windows of the microphone, and the borders of voice."""

import time
from enum import Enum

import numpy as np
from numpy.typing import NDArray
from pipecat.frames.frames import Frame, VADUserStartedSpeakingFrame, VADUserStoppedSpeakingFrame
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor

from pipelines.config import VadConfig
from pipelines.events import CallEvents, VoiceChanged
from pipelines.frames import CallerAudioFrame, VadWindowFrame
from pipelines.listening.silero import SAMPLE_RATE_HZ, WINDOW_SAMPLES, SileroStream
from pipelines.listening.voicing import SibilantDetector, Voicing, measure_voicing
from pipelines.turn_taking.inputs import WINDOW_MS, Window
from webrtc.media.pcm import from_pcm16

SAMPLES_PER_MS = SAMPLE_RATE_HZ // 1000
MEMORY_SAMPLES = 8 * SAMPLE_RATE_HZ  # what Smart Turn listens to

UNVOICED = Voicing(is_voiced=False, is_hum=False)


class Edge(Enum):
    """A border between voice and silence."""

    ONSET = "onset"
    PAUSE = "pause"


class VoiceActivity:
    """Turns window probabilities into onsets and pauses, with hysteresis; time is counted in windows."""

    def __init__(self, config: VadConfig) -> None:
        self._config = config
        self._is_active = False
        self._against_ms = 0  # how long the windows have contradicted the state

    def update(self, probability: float) -> Edge | None:
        """Take the next window's probability."""
        config = self._config
        if self._is_active:
            contradicts, needed_ms = probability < config.silence_probability, config.pause_ms
        else:
            contradicts, needed_ms = probability >= config.speech_probability, config.onset_ms
        self._against_ms = self._against_ms + WINDOW_MS if contradicts else 0
        if self._against_ms < needed_ms:
            return None
        self._is_active = not self._is_active
        self._against_ms = 0
        return Edge.ONSET if self._is_active else Edge.PAUSE


class RecentAudio:
    """The last seconds of the microphone as PCM16 in a ring."""

    def __init__(self) -> None:
        self._ring = np.zeros(MEMORY_SAMPLES, dtype=np.int16)
        self._end = 0

    def append(self, samples: NDArray[np.int16]) -> None:
        """Add samples [n], n at most the ring."""
        start = self._end % MEMORY_SAMPLES
        head = min(len(samples), MEMORY_SAMPLES - start)
        self._ring[start : start + head] = samples[:head]
        self._ring[: len(samples) - head] = samples[head:]
        self._end += len(samples)

    def latest(self) -> NDArray[np.float32]:
        """The last samples in [-1, 1], at most the ring."""
        count = min(self._end, MEMORY_SAMPLES)
        positions = np.arange(self._end - count, self._end) % MEMORY_SAMPLES
        return from_pcm16(self._ring[positions])


class Detection(FrameProcessor):
    """Emits a frame for every window and Pipecat's VAD frames at the edges, ahead of the audio they concern."""

    def __init__(self, config: VadConfig, events: CallEvents) -> None:
        super().__init__(enable_direct_mode=True)
        self._config = config
        self._events = events
        self._model = SileroStream()
        self._activity = VoiceActivity(config)
        self._sibilants = SibilantDetector()
        self._pending = np.zeros(0, dtype=np.int16)
        self.recent = RecentAudio()

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Judge the audio, then pass it on."""
        await super().process_frame(frame, direction)
        if isinstance(frame, CallerAudioFrame):
            await self._judge(frame)
        await self.push_frame(frame, direction)

    async def _judge(self, frame: CallerAudioFrame) -> None:
        samples = np.frombuffer(frame.audio, dtype=np.int16)
        self.recent.append(samples)
        self._pending = np.concatenate((self._pending, samples))
        while len(self._pending) >= WINDOW_SAMPLES:
            window = from_pcm16(self._pending[:WINDOW_SAMPLES])
            self._pending = self._pending[WINDOW_SAMPLES:]
            await self._judge_window(window, frame.end_samples - len(self._pending))

    async def _judge_window(self, window: NDArray[np.float32], end_samples: int) -> None:
        probability = self._model.probability(window)
        is_speech = probability >= self._config.speech_probability
        sound = measure_voicing(window) if is_speech else UNVOICED
        is_sibilant = self._sibilants.is_sibilant(window)
        edge = self._activity.update(probability)
        if edge is not None:
            self._events.emit(VoiceChanged(self._events.now_ms, is_speech=edge is Edge.ONSET))
        if edge is Edge.ONSET:
            await self.push_frame(
                VADUserStartedSpeakingFrame(start_secs=self._config.onset_ms / 1000, timestamp=time.time())
            )
        await self.push_frame(
            VadWindowFrame(
                Window(end_samples // SAMPLES_PER_MS, is_speech, sound.is_voiced, sound.is_hum, is_sibilant=is_sibilant)
            )
        )
        if edge is Edge.PAUSE:
            await self.push_frame(
                VADUserStoppedSpeakingFrame(stop_secs=self._config.pause_ms / 1000, timestamp=time.time())
            )
