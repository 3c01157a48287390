"""What the turn machine wants done. Each is carried out once, in order, by `agent_control.py`."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Duck:
    """The caller may be interrupting: play on quietly and hold synthesis. `after_ms` counts from the first sound."""

    reason: str
    after_ms: int
    type: Literal["duck"] = "duck"


@dataclass(frozen=True, slots=True)
class Mute:
    """Fall silent; what playout has stays where it is."""

    reason: str
    after_ms: int
    type: Literal["mute"] = "mute"


@dataclass(frozen=True, slots=True)
class TopUp:
    """While ducked: synthesize on if playout is about to run dry."""

    type: Literal["top_up"] = "top_up"


@dataclass(frozen=True, slots=True)
class Resume:
    """It was no interruption: go on to the sample."""

    reason: str
    after_ms: int
    type: Literal["resume"] = "resume"


@dataclass(frozen=True, slots=True)
class Cut:
    """The caller takes the floor: drop the reply and its speech; its turn is taken back if nothing was heard of it."""

    reason: str
    after_ms: int
    type: Literal["cut"] = "cut"


@dataclass(frozen=True, slots=True)
class Stop:
    """The client asked for it: drop the reply and its speech; of a draft, the turn that it answers, too."""

    is_draft: bool
    type: Literal["stop"] = "stop"


@dataclass(frozen=True, slots=True)
class BeginTurn:
    """The caller's turn has begun."""

    type: Literal["begin_turn"] = "begin_turn"


@dataclass(frozen=True, slots=True)
class EndTurn:
    """The caller's turn is over; the last speech was this long ago. `is_answered`: a reply follows."""

    silence_ms: int
    is_answered: bool
    type: Literal["end_turn"] = "end_turn"


@dataclass(frozen=True, slots=True)
class Report:
    """Tell what the caller says; a final text stands, an interim one may change."""

    text: str
    is_final: bool
    type: Literal["report"] = "report"


@dataclass(frozen=True, slots=True)
class Note:
    """The caller said this, without asking for a reply."""

    text: str
    type: Literal["note"] = "note"


@dataclass(frozen=True, slots=True)
class Ask:
    """The caller said this: reply."""

    text: str
    type: Literal["ask"] = "ask"


@dataclass(frozen=True, slots=True)
class Draft:
    """Prepare a reply to this and keep it back."""

    text: str
    type: Literal["draft"] = "draft"


@dataclass(frozen=True, slots=True)
class Release:
    """Let the draft be heard."""

    type: Literal["release"] = "release"


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Drop the draft, unheard, and take back the turn that it answers."""

    type: Literal["withdraw"] = "withdraw"


@dataclass(frozen=True, slots=True)
class AskTurnModel:
    """Ask the turn model about the audio up to this time."""

    at_ms: int
    type: Literal["ask_turn_model"] = "ask_turn_model"


Decision = Duck | Mute | Resume | Cut
Action = Decision | TopUp | Stop | BeginTurn | EndTurn | Report | Note | Ask | Draft | Release | Withdraw | AskTurnModel
