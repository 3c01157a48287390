"""Every event of a call, as a frozen dataclass with a literal `type`; JSON both ways; and where events go.

An `EventSink` takes events as they happen, in order. It is called on the event loop, so it must return at once and
must not raise: a sink that writes to a disk or a network keeps a bounded queue of its own. The data channel, Prometheus
and the log are sinks; a recorder is another. `docs/events.md` is made from this file.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Protocol, cast

from pydantic import Field, TypeAdapter, ValidationError

from pipelines.turn_taking.actions import Action
from pipelines.turn_taking.inputs import Input
from pipelines.turn_taking.state import State

Shown = Literal["listening", "thinking", "speaking", "ducked", "muted"]


@dataclass(frozen=True, slots=True)
class CallStarted:
    """The caller is connected, and the chain is about to run."""

    t_ms: int
    call_id: str
    type: Literal["call_started"] = "call_started"


@dataclass(frozen=True, slots=True)
class About:
    """Who answers: the agent's name, the engine that thinks, a note on its limits, and things to try to say."""

    t_ms: int
    agent: str
    engine: str = ""
    note: str = ""
    suggestions: tuple[str, ...] = ()
    type: Literal["about"] = "about"


@dataclass(frozen=True, slots=True)
class StateChanged:
    """Who has the floor now. The caller's turn shows as `listening`."""

    t_ms: int
    state: Shown
    type: Literal["state"] = "state"


@dataclass(frozen=True, slots=True)
class VoiceChanged:
    """Voice detection heard the caller begin to speak, or pause."""

    t_ms: int
    is_speech: bool
    type: Literal["vad"] = "vad"


@dataclass(frozen=True, slots=True)
class CallerSaid:
    """What was recognized of the caller's turn: an interim that may change, or a final text."""

    t_ms: int
    text: str
    is_final: bool
    type: Literal["caller_said"] = "caller_said"


@dataclass(frozen=True, slots=True)
class BargeIn:
    """A decision about the caller's voice over the agent's, `latency_ms` after its first sound."""

    t_ms: int
    decision: Literal["duck", "mute", "resume", "cut"]
    reason: str
    latency_ms: int
    type: Literal["decision"] = "decision"


@dataclass(frozen=True, slots=True)
class ReplyLatency:
    """From the end of the caller's speech to the first packet of the reply."""

    t_ms: int
    ms: int
    name: Literal["reply"] = "reply"
    type: Literal["latency"] = "latency"


@dataclass(frozen=True, slots=True)
class Heard:
    """The caller heard a word of the agent; `so_far` is all that was heard of this utterance."""

    t_ms: int
    text: str
    so_far: str
    utterance: int
    type: Literal["heard"] = "heard"


@dataclass(frozen=True, slots=True)
class Interrupted:
    """The agent was cut short after this had been heard of an utterance."""

    t_ms: int
    heard: str
    utterance: int
    type: Literal["interrupted"] = "interrupted"


@dataclass(frozen=True, slots=True)
class Underrun:
    """Playout ran dry inside an utterance this often since the last report."""

    t_ms: int
    count: int
    type: Literal["underrun"] = "underrun"


@dataclass(frozen=True, slots=True)
class ToolFinished:
    """A tool of the agent ran for so long; its arguments and its result are left out."""

    t_ms: int
    name: str
    ms: int
    is_cancelled: bool
    type: Literal["tool_finished"] = "tool_finished"


@dataclass(frozen=True, slots=True)
class EngineFailed:
    """An engine failed in the call; what became of it stands in `message`."""

    t_ms: int
    part: Literal["asr", "llm", "tts"]
    message: str
    type: Literal["engine_failed"] = "engine_failed"


@dataclass(frozen=True, slots=True)
class TurnStep:
    """One step of the turn machine: what came in, what it wants done, where that leaves it. See `replay.py`."""

    t_ms: int
    said: Annotated[Input, Field(discriminator="type")]
    actions: tuple[Annotated[Action, Field(discriminator="type")], ...]
    state: State
    type: Literal["turn_step"] = "turn_step"


@dataclass(frozen=True, slots=True)
class CallEnded:
    """The call is over, for this reason; nothing follows."""

    t_ms: int
    reason: str
    type: Literal["call_ended"] = "call_ended"


Event = (
    CallStarted
    | About
    | StateChanged
    | VoiceChanged
    | CallerSaid
    | BargeIn
    | ReplyLatency
    | Heard
    | Interrupted
    | Underrun
    | ToolFinished
    | EngineFailed
    | TurnStep
    | CallEnded
)

_log = logging.getLogger(__name__)

CallerEvent = About | StateChanged | VoiceChanged | BargeIn | ReplyLatency | Heard | Interrupted
"""What the caller's own page gets."""

_EVENTS: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="type")])


class EventSink(Protocol):
    """Takes the events of calls."""

    def emit(self, event: Event) -> None:
        """Take the next event; returns at once and raises nothing."""
        ...


class CallEvents:
    """The events of one call: gives them their time and hands them to every sink."""

    def __init__(self, sinks: Sequence[EventSink]) -> None:
        self._sinks = list(sinks)
        self._started_at = asyncio.get_running_loop().time()

    @property
    def now_ms(self) -> int:
        """The time of the call."""
        return round((asyncio.get_running_loop().time() - self._started_at) * 1000)

    def emit(self, event: Event) -> None:
        """Hand an event to every sink; one that raises is given no more, and the call goes on."""
        for sink in tuple(self._sinks):
            try:
                sink.emit(event)
            except Exception:
                self._sinks.remove(sink)
                _log.exception("%r failed at %s: it gets no more events of this call", sink, event.type)


def to_json(event: Event) -> dict[str, Any]:
    """The event as plain JSON values."""
    return cast("dict[str, Any]", _EVENTS.dump_python(event, mode="json"))


def from_json(values: object) -> Event:
    """The event that `to_json` wrote.

    Raises:
        ValueError: no event, in one line: what was wanted and what was found.
    """
    try:
        return _EVENTS.validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"no event of a call: {place or 'event'}: {first['msg']}, found {first['input']!r}") from None
