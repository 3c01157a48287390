"""A recorded call through the turn machine again, without audio, engines or clock: does it still do the same?"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pipelines.events import Event, TurnStep
from pipelines.turn_taking.actions import Action
from pipelines.turn_taking.machine import TurnMachine
from pipelines.turn_taking.state import State


@dataclass(frozen=True, slots=True)
class Difference:
    """A step of the recording that this machine takes otherwise."""

    recorded: TurnStep
    actions: tuple[Action, ...]
    state: State


def replay(events: Iterable[Event], machine: TurnMachine) -> Iterator[Difference]:
    """Feed a new machine what the recorded one was told; yields the steps that come out otherwise."""
    for event in events:
        if isinstance(event, TurnStep):
            actions = tuple(machine.feed(event.said))
            if actions != event.actions or machine.state is not event.state:
                yield Difference(event, actions, machine.state)
