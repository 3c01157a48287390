"""A caller and an agent for the turn machine in virtual time: windows of 32 ms, voice detection's edges in place."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from pipelines.turn_taking import actions, inputs
from pipelines.turn_taking.config import TurnTakingConfig
from pipelines.turn_taking.inputs import WINDOW_MS, AgentPhase, Window
from pipelines.turn_taking.machine import TurnMachine
from pipelines.turn_taking.state import State

ONSET_WINDOWS = 2
PAUSE_WINDOWS = 6

VOICE = Window(0, is_speech=True, is_voiced=True)


class Turns:
    """A turn machine, what it was fed, and what it wanted done."""

    def __init__(self, machine: TurnMachine) -> None:
        self.machine = machine
        self.now_ms = 0
        self.done: list[tuple[int, actions.Action]] = []
        self._is_voice = False
        self._against = 0  # windows that contradict it

    @property
    def state(self) -> State:
        return self.machine.state

    def feed(self, said: inputs.Input) -> list[actions.Action]:
        wanted = list(self.machine.feed(said))
        self.done += [(self.now_ms, action) for action in wanted]
        return wanted

    def take(self) -> list[str]:
        """The types of all actions since the last call, but the many `top_up`."""
        types = [action.type for _, action in self.done if action.type != "top_up"]
        self.done.clear()
        return types

    def only(self, kind: type[actions.Action]) -> list[actions.Action]:
        return [action for _, action in self.done if isinstance(action, kind)]

    def hear(self, window: Window, count: int = 1) -> None:
        """So many windows of a sound."""
        for _ in range(count):
            self.now_ms += WINDOW_MS
            self._against = self._against + 1 if window.is_speech is not self._is_voice else 0
            is_edge = self._against == (PAUSE_WINDOWS if self._is_voice else ONSET_WINDOWS)
            if is_edge:
                self._is_voice, self._against = not self._is_voice, 0
            if is_edge and self._is_voice:
                self.feed(inputs.Onset(self.now_ms - WINDOW_MS))
            self.feed(replace(window, at_ms=self.now_ms))
            if is_edge and not self._is_voice:
                self.feed(inputs.Pause(self.now_ms))

    def voice(self, count: int) -> None:
        self.hear(VOICE, count)

    def silence(self, count: int) -> None:
        self.hear(Window(0), count)

    def words(self, text: str, *, is_final: bool = True, confidence: float | None = None) -> None:
        self.feed(inputs.Words(self.now_ms, text, is_final, confidence))

    def agent(self, phase: AgentPhase) -> None:
        assert not self.feed(inputs.AgentChanged(self.now_ms, phase))

    def says(self, text: str) -> None:
        """A whole turn of the caller, until a reply is asked for."""
        self.voice(20)
        self.silence(7)
        self.words(text)
        self.silence(15)

    def agent_speaks(self) -> None:
        """The reply begins, and is heard."""
        self.agent(AgentPhase.THINKING)
        self.agent(AgentPhase.SPEAKING)
        self.take()


@pytest.fixture
def turns_of() -> Callable[..., Turns]:
    """`turns_of(config, uses_turn_model=...)`: a call of its own."""

    def make(config: TurnTakingConfig | None = None, *, uses_turn_model: bool = False) -> Turns:
        machine = TurnMachine(config or TurnTakingConfig(), onset_ms=64, uses_turn_model=uses_turn_model)
        return Turns(machine)

    return make


@pytest.fixture
def turns(turns_of: Callable[..., Turns]) -> Turns:
    return turns_of()


@pytest.fixture
def speaking(turns: Turns) -> Turns:
    """A call in which the agent answers a question."""
    turns.says("tell me a story")
    turns.agent_speaks()
    turns.silence(3)
    return turns
