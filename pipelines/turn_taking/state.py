"""The states of the turn machine."""

from enum import StrEnum


class State(StrEnum):
    """Who has the floor, and how firmly."""

    LISTENING = "listening"  # no one has it
    CALLER_TURN = "caller_turn"  # the caller
    THINKING = "thinking"  # the agent, not heard yet
    SPEAKING = "speaking"  # the agent
    DUCKED = "ducked"  # the agent, lowered: the caller may be interrupting
    MUTED = "muted"  # the agent, silent: the caller sounds like it
