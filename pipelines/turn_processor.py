"""The turn machine's place in the pipeline: frames become inputs, and actions are carried out."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, cast

from pipecat.frames.frames import (
    Frame,
    InterruptionFrame,
    LLMMessagesAppendFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor

from pipelines.agent_control import AgentControl
from pipelines.events import BargeIn, CallerSaid, CallEvents, Shown, StateChanged, TurnStep
from pipelines.frames import TranscriptFrame, VadWindowFrame
from pipelines.listening.smart_turn import SmartTurn
from pipelines.listening.vad import RecentAudio
from pipelines.turn_taking import actions, inputs
from pipelines.turn_taking.machine import TurnMachine
from pipelines.turn_taking.state import State

_SHOWN: Mapping[State, Shown] = {
    State.LISTENING: "listening",
    State.CALLER_TURN: "listening",
    State.THINKING: "thinking",
    State.SPEAKING: "speaking",
    State.DUCKED: "ducked",
    State.MUTED: "muted",
}


class TurnTaking(FrameProcessor):
    """Swallows voice windows and transcripts; emits turns, interruptions and requests for a reply.

    Args:
        machine: decides; nothing else remembers anything of turns.
        agent: is ordered about.
        recent: the last seconds of the microphone, for Smart Turn.
        smart_turn: None is never asked.
    """

    def __init__(
        self,
        machine: TurnMachine,
        agent: AgentControl,
        events: CallEvents,
        *,
        recent: RecentAudio,
        smart_turn: SmartTurn | None,
    ) -> None:
        super().__init__()
        self._machine = machine
        self._agent = agent
        self._events = events
        self._recent = recent
        self._smart_turn = smart_turn
        self._question: asyncio.Task[None] | None = None  # Smart Turn being asked
        self._shown = ""  # the state that was published last
        agent.activity.on_change = self._on_agent

    async def cleanup(self) -> None:
        """Stop asking."""
        await super().cleanup()
        if self._question:
            await self.cancel_task(self._question)

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Feed what concerns the floor; pass on the rest."""
        await super().process_frame(frame, direction)
        match frame:
            case LLMMessagesAppendFrame():
                await self._on_messages(frame)
            case VadWindowFrame():
                await self._feed(frame.window)
            case TranscriptFrame():
                said = frame.transcript
                await self._feed(inputs.Words(self._machine.now_ms, said.text, said.is_final, said.confidence))
            case VADUserStoppedSpeakingFrame():
                await self.push_frame(frame, direction)
                await self._feed(inputs.Pause(self._machine.now_ms))
            case _:
                if isinstance(frame, VADUserStartedSpeakingFrame):
                    await self._feed(inputs.Onset(self._machine.now_ms))
                elif isinstance(frame, InterruptionFrame):
                    await self._feed(inputs.Cancel(self._machine.now_ms))
                await self.push_frame(frame, direction)

    def tell_reopened(self, words: str) -> None:
        """See `agent_control.TurnTaker`."""
        self._step(inputs.Reopened(self._machine.now_ms, words))

    def ask_turn_model(self, at_ms: int) -> None:
        """See `agent_control.TurnTaker`."""
        if self._smart_turn:
            self._question = cast("asyncio.Task[None]", self.create_task(self._ask(self._smart_turn, at_ms)))

    async def _ask(self, smart_turn: SmartTurn, at_ms: int) -> None:
        opinion = await smart_turn.sounds_complete(self._recent.latest())
        self._question = None
        await self._feed(inputs.TurnOpinion(self._machine.now_ms, at_ms, opinion))

    def _on_agent(self, phase: inputs.AgentPhase) -> None:
        self._step(inputs.AgentChanged(self._machine.now_ms, phase))

    async def _on_messages(self, frame: LLMMessagesAppendFrame) -> None:
        """A client sent text instead of speech."""
        messages = [cast("dict[str, Any]", message) for message in frame.messages if isinstance(message, dict)]
        texts = [str(message.get("content", "")) for message in messages if message.get("role") == "user"]
        for number, text in enumerate(texts, start=1):
            wants_reply = bool(frame.run_llm) and number == len(texts)
            await self._feed(inputs.Typed(self._machine.now_ms, text, wants_reply))

    async def _feed(self, said: inputs.Input) -> None:
        for action in self._step(said):
            await self._agent.carry_out(action, self)

    def _step(self, said: inputs.Input) -> Sequence[actions.Action]:
        """Feed the machine and tell the sinks; what it wants done is left to the caller."""
        wanted = self._machine.feed(said)
        t_ms = self._events.now_ms
        self._events.emit(TurnStep(t_ms, said, tuple(wanted), self._machine.state))
        for action in wanted:
            if isinstance(action, actions.Decision):
                self._events.emit(BargeIn(t_ms, action.type, action.reason, action.after_ms))
            elif isinstance(action, actions.Report):
                self._events.emit(CallerSaid(t_ms, action.text, action.is_final))
        if (shown := _SHOWN[self._machine.state]) != self._shown:
            self._shown = shown
            self._events.emit(StateChanged(t_ms, shown))
        return wanted
