"""Joins a Pipecat pipeline to a call: microphone and data channel in, playout out, and out again what was heard.

Frames that mark the end of something wait in playout order until the caller has heard what they end.
"""

import asyncio
import json
import logging
from collections import deque
from contextlib import suppress
from typing import Any

import numpy as np
from pipecat.frames.frames import (
    BotStartedSpeakingFrame,
    BotStoppedSpeakingFrame,
    Frame,
    InputTransportMessageFrame,
    InterruptionFrame,
    LLMFullResponseEndFrame,
    OutputTransportMessageFrame,
    OutputTransportMessageUrgentFrame,
    StartFrame,
    TTSStoppedFrame,
)
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor

from pipelines.activity import AgentActivity
from pipelines.events import CallEvents, Heard, Interrupted, ReplyLatency, Underrun
from pipelines.frames import CallerAudioFrame, EndCallFrame, SpokenAudioFrame
from pipelines.replying.conversation import Conversation
from pipelines.speaking.heard import HeardLedger
from webrtc.interface import Call, CallClosed, Playout
from webrtc.media.pcm import from_pcm16, to_pcm16

_log = logging.getLogger(__name__)

MICROPHONE_RATE_HZ = 16_000


class CallInput(FrameProcessor):
    """Pushes what the caller sends: audio, and messages of the data channel."""

    def __init__(self, call: Call) -> None:
        super().__init__(enable_direct_mode=True)
        self._call = call
        self._tasks: list[asyncio.Task[None]] = []

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Begin to read once the pipeline has started."""
        await super().process_frame(frame, direction)
        await self.push_frame(frame, direction)
        if isinstance(frame, StartFrame):
            self._tasks = [self.create_task(self._read_audio()), self.create_task(self._read_messages())]

    async def cleanup(self) -> None:
        """Stop reading."""
        await super().cleanup()
        for task in self._tasks:
            await self.cancel_task(task)
        self._tasks.clear()

    async def _read_audio(self) -> None:
        async for frame in self._call.microphone:
            pcm = to_pcm16(frame.samples).tobytes()
            end_samples = frame.position_samples + len(frame.samples)
            await self.push_frame(CallerAudioFrame(pcm, MICROPHONE_RATE_HZ, 1, end_samples=end_samples))

    async def _read_messages(self) -> None:
        async for text in self._call.messages:
            try:
                message: Any = json.loads(text)
            except (ValueError, RecursionError):  # numbers too long and brackets too deep among them
                _log.debug("ignored a data channel message that is not JSON")
                continue
            if isinstance(message, dict) and "label" in message:
                await self.push_frame(InputTransportMessageFrame(message=message), FrameDirection.UPSTREAM)


class CallOutput(FrameProcessor):
    """Plays speech and knows what of it was heard; writes that into the conversation."""

    def __init__(
        self,
        call: Call,
        conversation: Conversation,
        *,
        activity: AgentActivity,
        events: CallEvents,
        ended: asyncio.Event,
    ) -> None:
        """`ended` is set once the caller has heard the end of a reply that ends the call."""
        super().__init__()
        self._call = call
        self._playout: Playout = call.playout
        self._conversation = conversation
        self._activity = activity
        self._events = events
        self._ended = ended
        self._ledger = HeardLedger()
        self._heard: list[str] = []  # words of the reply being heard
        self._behind: deque[tuple[int, Frame]] = deque()  # frames waiting for a playout position
        self._wanted_epoch = 0
        self._response = 1  # number of the reply being heard, or to be heard next
        self._is_speaking = False
        self._underruns = 0
        self._asked_at: float | None = None  # when the caller stopped speaking, until the reply's first packet
        self._work = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def expect_reply(self, asked_at: float) -> None:
        """The caller's last sound was at `asked_at` (event loop's clock); what is played next answers it."""
        self._asked_at = asked_at

    def cut(self, wanted_epoch: int, *, fade_ms: float) -> None:
        """Silence within one packet; speech from before `wanted_epoch` is dropped from here on."""
        self._wanted_epoch = wanted_epoch
        self._asked_at = None
        position = self._playout.cut(fade_ms)
        self._hear(self._ledger.take(position))
        if self._behind or self._ledger.has_more or self._heard:
            heard = "".join(self._heard)
            self._conversation.agent_said(heard, is_interrupted=True)
            self._events.emit(Interrupted(self._events.now_ms, heard.strip(), self._response))
            self._response += 1
        self._behind.clear()
        self._ledger.clear()
        self._heard.clear()

    async def cleanup(self) -> None:
        """Stop listening to playout."""
        await super().cleanup()
        if self._task:
            await self.cancel_task(self._task)
            self._task = None

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Play audio, send messages, queue what must wait to be heard."""
        await super().process_frame(frame, direction)
        if isinstance(frame, SpokenAudioFrame):
            if frame.epoch >= self._wanted_epoch:
                await self._play(frame)
            return
        if isinstance(frame, OutputTransportMessageFrame | OutputTransportMessageUrgentFrame):
            self._call.send(json.dumps(frame.message))
            return
        if isinstance(frame, StartFrame):
            self._task = self.create_task(self._follow_playout())
        elif isinstance(frame, InterruptionFrame):
            await self._stopped_speaking()
        elif isinstance(frame, TTSStoppedFrame | LLMFullResponseEndFrame | EndCallFrame):
            if isinstance(frame, TTSStoppedFrame):
                self._playout.finish()
            self._behind.append((self._playout.written_samples, frame))
            self._work.set()
            return
        await self.push_frame(frame, direction)

    async def _play(self, frame: SpokenAudioFrame) -> None:
        samples = from_pcm16(np.frombuffer(frame.audio, dtype=np.int16))
        start = self._playout.write(samples)
        self._ledger.add(frame.text, start, start + len(samples))
        self._work.set()
        if not self._is_speaking:
            self._is_speaking = True
            self._activity.set_audible(True)
            await self.broadcast_frame(BotStartedSpeakingFrame)

    async def _follow_playout(self) -> None:
        """Packet by packet: publish the words heard, let go the frames whose speech has been heard."""
        with suppress(CallClosed):
            while True:
                self._work.clear()
                while self._behind or self._ledger.has_more or self._is_speaking:
                    position = await self._playout.wait_advanced()
                    self._note_first_packet(position)
                    await self._release(position)
                await self._work.wait()

    async def _release(self, position: int) -> None:
        self._hear(self._ledger.take(position))
        while self._behind and self._behind[0][0] <= position:
            _, frame = self._behind.popleft()
            if isinstance(frame, LLMFullResponseEndFrame):
                self._conversation.agent_said("".join(self._heard), is_interrupted=False)
                self._heard.clear()
                self._response += 1
            elif isinstance(frame, EndCallFrame):
                self._ended.set()
            await self.push_frame(frame)
        if self._playout.underruns != self._underruns:
            self._events.emit(Underrun(self._events.now_ms, self._playout.underruns - self._underruns))
            self._underruns = self._playout.underruns
        if self._is_speaking and not self._behind and self._playout.lead_samples == 0 and not self._ledger.has_more:
            await self._stopped_speaking()

    def _note_first_packet(self, position: int) -> None:
        if self._asked_at is not None and self._is_speaking and position > 0:
            latency_ms = round((asyncio.get_running_loop().time() - self._asked_at) * 1000)
            self._events.emit(ReplyLatency(self._events.now_ms, latency_ms))
            self._asked_at = None

    def _hear(self, words: list[str]) -> None:
        for word in words:
            self._heard.append(word)
            self._events.emit(Heard(self._events.now_ms, word, "".join(self._heard), self._response))

    async def _stopped_speaking(self) -> None:
        if self._is_speaking:
            self._is_speaking = False
            self._ledger.clear()
            self._activity.set_audible(False)
            await self.broadcast_frame(BotStoppedSpeakingFrame)
