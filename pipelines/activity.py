"""What the agent is doing: reply, speech and playout report their share, and turn taking hears of each change."""

from collections.abc import Callable

from pipelines.turn_taking.inputs import AgentPhase


class AgentActivity:
    """The agent of one call, as idle, thinking or speaking. Set `on_change` before the call runs."""

    def __init__(self) -> None:
        self.on_change: Callable[[AgentPhase], None] = lambda _: None
        self._phase = AgentPhase.IDLE
        self._is_replying = False
        self._responses = 0  # begun and not yet handed to playout in full
        self._is_audible = False

    @property
    def phase(self) -> AgentPhase:
        """What the agent is doing now."""
        return self._phase

    def set_replying(self, is_replying: bool) -> None:
        """A reply is being generated, or not any more."""
        self._is_replying = is_replying
        self._update()

    def add_response(self) -> None:
        """A response has begun: there will be something to say."""
        self._responses += 1
        self._update()

    def finish_response(self) -> None:
        """All of a response has been handed to playout."""
        self._responses = max(0, self._responses - 1)
        self._update()

    def set_audible(self, is_audible: bool) -> None:
        """The caller begins to hear the agent, or has heard it all."""
        self._is_audible = is_audible
        self._update()

    def reset(self) -> None:
        """Everything was dropped."""
        self._is_replying = self._is_audible = False
        self._responses = 0
        self._update()

    def _update(self) -> None:
        is_thinking = self._is_replying or self._responses > 0
        phase = AgentPhase.SPEAKING if self._is_audible else AgentPhase.THINKING if is_thinking else AgentPhase.IDLE
        if phase is not self._phase:
            self._phase = phase
            self.on_change(phase)
