"""Carries out the turn machine's actions: on reply, speech and playout as one agent, and on the conversation."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol, assert_never

from pipecat.frames.frames import (
    Frame,
    InterimTranscriptionFrame,
    LLMRunFrame,
    TranscriptionFrame,
    UserStartedSpeakingFrame,
    UserStoppedSpeakingFrame,
)

from pipelines.activity import AgentActivity
from pipelines.replying.conversation import Conversation
from pipelines.replying.reply import ReplyService
from pipelines.speaking.speech import SpeechService
from pipelines.transport import CallOutput
from pipelines.turn_taking import actions
from pipelines.turn_taking.config import BargeInConfig
from webrtc.interface import Playout


class TurnTaker(Protocol):
    """Where the actions come from, and the way of frames into the pipeline."""

    async def push_frame(self, frame: Frame) -> None:
        """Send a frame downstream."""
        ...

    async def broadcast_frame(self, frame_cls: type[Frame], **kwargs: Any) -> None:
        """Send a frame of this class both ways."""
        ...

    async def broadcast_interruption(self) -> None:
        """Make every other processor drop what it has queued."""
        ...

    def tell_reopened(self, words: str) -> None:
        """A cut took back this turn, to which no answer had been heard."""
        ...

    def ask_turn_model(self, at_ms: int) -> None:
        """Ask whether the turn sounds complete."""
        ...


@dataclass(frozen=True, slots=True)
class AgentControl:
    """The agent of one call. What is ordered of playout takes effect in the next packet."""

    reply: ReplyService
    speech: SpeechService
    output: CallOutput
    playout: Playout
    activity: AgentActivity
    conversation: Conversation
    config: BargeInConfig

    async def carry_out(self, action: actions.Action, by: TurnTaker) -> None:  # noqa: PLR0912, PLR0915 - one case an action
        """Do it, once."""
        match action:
            case actions.Duck():
                self.playout.duck(self.config.duck_db, self.config.ramp_ms)
                self.speech.hold()
            case actions.Mute():
                self.playout.mute(self.config.ramp_ms)
            case actions.TopUp():
                self.speech.top_up()
            case actions.Resume():
                self.playout.resume(self.config.ramp_ms)
                self.speech.resume()
            case actions.Cut():
                self._drop()
                if words := self.conversation.reopen_turn():
                    by.tell_reopened(words)
                await by.broadcast_interruption()
            case actions.Withdraw():
                self._drop()
                self.conversation.reopen_turn()
                await by.broadcast_interruption()
            case actions.Stop():
                self._drop()
                if action.is_draft:
                    self.conversation.reopen_turn()
            case actions.BeginTurn():
                await by.broadcast_frame(UserStartedSpeakingFrame)
            case actions.EndTurn():
                await by.broadcast_frame(UserStoppedSpeakingFrame)
                if action.is_answered:
                    self.output.expect_reply(asyncio.get_running_loop().time() - action.silence_ms / 1000)
            case actions.Report(is_final=True):
                await by.push_frame(TranscriptionFrame(action.text, "caller", _now(), finalized=True))
            case actions.Report():
                await by.push_frame(InterimTranscriptionFrame(action.text, "caller", _now()))
            case actions.Note():
                self.conversation.caller_said(action.text)
            case actions.Ask():
                self.conversation.caller_said(action.text)
                await by.push_frame(LLMRunFrame())
            case actions.Draft():
                self.reply.keep_back()
                self.speech.keep_back()
                self.conversation.caller_said(action.text)
                await by.push_frame(LLMRunFrame())
            case actions.Release():
                self.reply.release()
                self.speech.release()
            case actions.AskTurnModel():
                by.ask_turn_model(action.at_ms)
            case _:
                assert_never(action)

    def _drop(self) -> None:
        """Stop reply, speech and playout and write down what was heard; at once and in one go."""
        wanted_epoch = self.speech.drop()
        self.output.cut(wanted_epoch, fade_ms=self.config.ramp_ms)
        self.reply.drop()
        self.activity.reset()


def _now() -> str:
    return datetime.now(UTC).isoformat()
