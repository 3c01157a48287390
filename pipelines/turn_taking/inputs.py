"""What the turn machine is told, each with its time: plain data, so that a call can be recorded and replayed.

Times are ms of the caller's microphone: the end of the newest window when it happened.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

WINDOW_MS = 32  # of voice detection: Silero's 512 samples at 16 kHz


class AgentPhase(StrEnum):
    """What the agent is doing, as far as turn taking is concerned."""

    IDLE = "idle"
    THINKING = "thinking"  # a reply is being generated, or its speech is still to come
    SPEAKING = "speaking"  # the caller hears it


@dataclass(frozen=True, slots=True)
class Window:
    """One window of the microphone, and what it sounds like."""

    at_ms: int
    is_speech: bool = False
    is_voiced: bool = False
    is_hum: bool = False
    is_sibilant: bool = False
    type: Literal["window"] = "window"

    @property
    def is_sound(self) -> bool:
        """Whether it may be speech: voice detection does not know a sibilant for it."""
        return self.is_speech or self.is_sibilant


@dataclass(frozen=True, slots=True)
class Onset:
    """Voice detection: the caller has begun to speak."""

    at_ms: int
    type: Literal["onset"] = "onset"


@dataclass(frozen=True, slots=True)
class Pause:
    """Voice detection: the caller pauses. The recognizer has been flushed; its final words are due."""

    at_ms: int
    type: Literal["pause"] = "pause"


@dataclass(frozen=True, slots=True)
class Words:
    """What was recognized: an interim guess, or the final words of a flush. `confidence` in [0, 1], None if unknown."""

    at_ms: int
    text: str
    is_final: bool
    confidence: float | None = None
    type: Literal["words"] = "words"


@dataclass(frozen=True, slots=True)
class TurnOpinion:
    """The turn model's answer to `AskTurnModel`; None if it came too late."""

    at_ms: int
    asked_at_ms: int
    sounds_complete: bool | None
    type: Literal["turn_opinion"] = "turn_opinion"


@dataclass(frozen=True, slots=True)
class AgentChanged:
    """The agent thinks, is heard, or has nothing more to say. Leads to no action before the next window."""

    at_ms: int
    phase: AgentPhase
    type: Literal["agent_changed"] = "agent_changed"


@dataclass(frozen=True, slots=True)
class Reopened:
    """A cut took back a turn of which the caller had heard no answer: the new turn continues these words."""

    at_ms: int
    words: str
    type: Literal["reopened"] = "reopened"


@dataclass(frozen=True, slots=True)
class Typed:
    """The caller sent text instead of speech."""

    at_ms: int
    text: str
    wants_reply: bool
    type: Literal["typed"] = "typed"


@dataclass(frozen=True, slots=True)
class Cancel:
    """The caller's client asks the agent to stop."""

    at_ms: int
    type: Literal["cancel"] = "cancel"


Input = Window | Onset | Pause | Words | TurnOpinion | AgentChanged | Reopened | Typed | Cancel
