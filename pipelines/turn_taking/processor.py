"""Who has the floor: applies the turn and barge-in policies to one call.

All decisions of a call fall here, at voice windows and transcripts; everything it does to the agent is a call
downward: hold, duck, resume, or stop the mouth and flush playout.
"""

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, cast

from pipecat.frames.frames import (
    Frame,
    InterimTranscriptionFrame,
    InterruptionFrame,
    LLMMessagesAppendFrame,
    LLMRunFrame,
    TranscriptionFrame,
    UserStartedSpeakingFrame,
    UserStoppedSpeakingFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor

from asr.interface import Transcript
from pipelines.config import CallConfig
from pipelines.frames import TranscriptFrame, VoiceFrame
from pipelines.listening.smart_turn import SmartTurn
from pipelines.listening.vad import RecentAudio
from pipelines.observer import Timeline
from pipelines.replying.conversation import Conversation
from pipelines.turn_taking.agent_control import AgentVoice
from pipelines.turn_taking.barge_in import Decision
from pipelines.turn_taking.caller_voice import CallerVoice
from pipelines.turn_taking.endpointing import CallerTurn, is_turn_over, may_be_over
from pipelines.turn_taking.overlap import Overlap

UNCLEAR = "…"  # stands for words that were not understood; a mind asks for them again


class TurnTaking(FrameProcessor):
    """Swallows voice windows and transcripts; emits turns, interruptions and requests for a reply."""

    def __init__(
        self,
        agent: AgentVoice,
        conversation: Conversation,
        timeline: Timeline,
        config: CallConfig,
        *,
        recent: RecentAudio,
        smart_turn: SmartTurn | None,
    ) -> None:
        super().__init__()
        self._agent = agent
        self._conversation = conversation
        self._timeline = timeline
        self._config = config
        self._voice = CallerVoice(config.vad, recent, smart_turn, self._spawn)
        self._turn: CallerTurn | None = None
        self._drafted: str | None = None  # the words that a reply is being kept back for
        self._has_told_interim = False  # and no final since
        self._overlap = Overlap(agent, timeline, config.turn_taking.barge_in)

    async def cleanup(self) -> None:
        """Stop asking."""
        await super().cleanup()
        if self._voice.opinion:
            await self.cancel_task(self._voice.opinion)

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Judge what concerns the floor; pass on the rest."""
        await super().process_frame(frame, direction)
        if isinstance(frame, VoiceFrame):
            await self._on_window(frame)
        elif isinstance(frame, TranscriptFrame):
            await self._on_transcript(frame.transcript)
        elif isinstance(frame, LLMMessagesAppendFrame):
            await self._on_typed(frame)
        else:
            if isinstance(frame, VADUserStartedSpeakingFrame):
                await self._on_onset()
            elif isinstance(frame, InterruptionFrame):
                self._overlap.end()
                self._forget_draft()
                self._agent.silence()
            await self.push_frame(frame, direction)
            if isinstance(frame, VADUserStoppedSpeakingFrame):
                self._voice.pause(is_in_turn=self._turn is not None)

    def _spawn(self, run: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return cast("asyncio.Task[None]", self.create_task(run))

    # What is heard

    async def _on_window(self, frame: VoiceFrame) -> None:
        self._voice.window(frame)
        if self._turn:
            await self._maybe_end_turn()
        elif self._agent.has_floor:
            await self._act_on(self._overlap.weigh(frame))
        else:
            self._timeline.state("listening")
            if self._overlap.is_on:
                await self._agent_finished_first()

    async def _on_onset(self) -> None:
        self._voice.onset(is_in_turn=self._turn is not None)
        await self._withdraw_draft()
        if not self._turn and not self._agent.has_floor:
            await self._begin_turn(CallerTurn())

    async def _on_transcript(self, transcript: Transcript) -> None:
        is_wanted = self._voice.is_wanted(transcript)
        transcript = self._as_understood(transcript)
        if not is_wanted:
            if transcript.is_final and not self._turn:
                await self._on_late_words(transcript.text)
        elif self._turn:
            self._turn.hear(transcript.text, is_final=transcript.is_final)
            await self._tell(transcript.text, is_final=transcript.is_final)
            await self._maybe_end_turn()
        elif transcript.is_final:
            await self._act_on(self._overlap.hear(transcript.text, self._voice.now_samples))

    async def _on_late_words(self, words: str) -> None:
        """A recogniser was slower than the patience with a silent agent: what it heard may still ask for the floor."""
        if self._overlap.hear_late(words, self._voice.now_samples) is Decision.CUT:
            await self._take_floor(words)

    def _as_understood(self, transcript: Transcript) -> Transcript:
        """The transcript without words that the recogniser itself doubts: in a short sound they are a cough."""
        config = self._config.turn_taking
        confidence = transcript.confidence
        if not transcript.is_final or confidence is None or confidence >= config.unclear_confidence:
            return transcript
        is_short = self._overlap.is_on or self._voice.speech_ms < config.barge_in.word_ms
        return replace(transcript, text="" if is_short else UNCLEAR)

    async def _tell(self, words: str, *, is_final: bool) -> None:
        """Tell observers what the caller says, and that an interim came to nothing; else not what is no turn."""
        is_known = bool(words.strip())
        if not is_known and not (is_final and self._has_told_interim):
            return
        self._has_told_interim = not is_final
        stamp = datetime.now(UTC).isoformat()
        if is_final:
            await self.push_frame(TranscriptionFrame(words, "caller", stamp, finalized=True))
        else:
            await self.push_frame(InterimTranscriptionFrame(words, "caller", stamp))

    async def _on_typed(self, frame: LLMMessagesAppendFrame) -> None:
        """A client sent text instead of speech."""
        await self._withdraw_draft()
        for message in frame.messages:
            if isinstance(message, dict) and message.get("role") == "user":
                self._conversation.caller_said(str(message.get("content", "")))
        if frame.run_llm:
            await self.push_frame(LLMRunFrame())

    # The caller's turn

    async def _begin_turn(self, turn: CallerTurn) -> None:
        self._turn = turn
        self._timeline.state("listening")
        await self.broadcast_frame(UserStartedSpeakingFrame)

    async def _maybe_end_turn(self) -> None:
        turn = self._turn
        if not turn or not self._voice.is_paused:
            return
        pause = self._voice.silence(turn.words)
        if self._drafted not in (None, turn.words):
            await self._withdraw_draft()
        if is_turn_over(pause, self._config.turn_taking.endpointing):
            await self._end_turn(turn)
        elif self._config.turn_taking.draft_reply and self._drafted is None and may_be_over(pause):
            await self._draft_reply(turn)

    async def _end_turn(self, turn: CallerTurn) -> None:
        self._turn = None
        self._voice.ignore_due()
        if self._has_told_interim:
            await self._tell(turn.saying, is_final=True)
        await self.broadcast_frame(UserStoppedSpeakingFrame)
        if turn.words:
            self._timeline.state("thinking")
            self._agent.output.expect_reply(self._voice.last_speech_at)
            if self._drafted is None:
                await self._ask_for_reply(turn)
        self._drafted = None
        self._agent.release()

    # A reply that nobody hears of until the turn is over

    async def _draft_reply(self, turn: CallerTurn) -> None:
        self._drafted = turn.words
        self._agent.keep_back()
        await self._ask_for_reply(turn)

    async def _withdraw_draft(self) -> None:
        """The caller goes on: what was prepared is dropped, unheard."""
        if self._drafted is not None:
            self._forget_draft()
            self._agent.silence()
            await self.broadcast_interruption()

    def _forget_draft(self) -> None:
        if self._drafted is not None:
            self._drafted = None
            self._conversation.reopen_turn()

    async def _ask_for_reply(self, turn: CallerTurn) -> None:
        self._conversation.caller_said(turn.words)
        await self.push_frame(LLMRunFrame())

    # The caller's voice over the agent's

    async def _act_on(self, decision: Decision) -> None:
        if decision is Decision.CUT:
            await self._take_floor(self._overlap.words)
        elif decision is Decision.RESUME:
            self._voice.ignore_due()

    async def _take_floor(self, words: str) -> None:
        """The caller interrupts, with these words if they are known."""
        was_heard = self._agent.output.has_been_heard
        self._agent.silence()
        self._overlap.end()
        before = "" if was_heard else self._conversation.reopen_turn()
        await self.broadcast_interruption()
        await self._begin_turn_with(words, before)

    async def _agent_finished_first(self) -> None:
        """The agent fell silent by itself while the caller's voice was being weighed: it is a turn like any other."""
        words = self._overlap.words
        self._overlap.end()
        if words or not self._voice.is_paused:
            await self._begin_turn_with(words)

    async def _begin_turn_with(self, words: str, before: str = "") -> None:
        turn = CallerTurn(said=before)
        turn.hear(words, is_final=True)
        await self._begin_turn(turn)
        await self._tell(words, is_final=True)
