"""Who has the floor: one machine a call, without I/O, clock or Pipecat. Inputs with their times in, actions out.

It alone owns what turn taking remembers of a call. The same inputs always lead to the same actions, so a recorded call
can be replayed (`replay.py`). `docs/architecture.md` draws its states.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import assert_never

from pipelines.turn_taking import actions, inputs
from pipelines.turn_taking.barge_in import Evidence, decide
from pipelines.turn_taking.caller import CallerState, CallerTurn
from pipelines.turn_taking.config import TurnTakingConfig
from pipelines.turn_taking.endpointing import is_turn_over, may_be_over
from pipelines.turn_taking.inputs import AgentPhase
from pipelines.turn_taking.state import State

UNCLEAR = "…"  # stands for words that were not understood; a language model asks for them again

_STATE_OF = {
    AgentPhase.IDLE: State.LISTENING,
    AgentPhase.THINKING: State.THINKING,
    AgentPhase.SPEAKING: State.SPEAKING,
}
_log = logging.getLogger(__name__)


class TurnMachine:
    """Turn taking of one call.

    Args:
        config: presets and thresholds.
        onset_ms: speech that voice detection needs to call it an onset.
        uses_turn_model: whether somebody answers `AskTurnModel`.
    """

    def __init__(self, config: TurnTakingConfig, *, onset_ms: int, uses_turn_model: bool = False) -> None:
        self._config = config
        self._onset_ms = onset_ms
        self._uses_turn_model = uses_turn_model
        self._state = State.LISTENING
        self._agent = AgentPhase.IDLE
        self._is_reply_asked = False  # and the agent has not begun to think: it is not idle, though it says so
        self._caller = CallerState()
        self._turn = CallerTurn()  # of the caller; the one that is going on while the state is CALLER_TURN
        self._drafted: str | None = None  # the words that a reply is being kept back for
        self._has_reported_interim = False  # and no final since
        self._evidence: Evidence | None = None  # of the caller's voice over the agent's
        self._unheard: Evidence | None = None  # let pass before its words were known
        self._todo: list[actions.Action] = []

    @property
    def state(self) -> State:
        """Who has the floor."""
        return self._state

    @property
    def now_ms(self) -> int:
        """The end of the newest window."""
        return self._caller.now_ms

    def feed(self, said: inputs.Input) -> Sequence[actions.Action]:
        """What to do, in order, now that this has happened."""
        self._todo = []
        match said:
            case inputs.Window():
                self._on_window(said)
            case inputs.Onset():
                self._on_onset()
            case inputs.Pause():
                self._caller.pause()
                self._ask_turn_model()
            case inputs.Words():
                self._on_words(said)
            case inputs.TurnOpinion():
                self._on_opinion(said)
            case inputs.AgentChanged():
                self._on_agent(said.phase)
            case inputs.Reopened():
                self._turn.continues(said.words)
            case inputs.Typed():
                self._on_typed(said)
            case inputs.Cancel():
                self._on_cancel()
            case _:
                assert_never(said)
        return self._todo

    # The caller's voice

    def _on_window(self, window: inputs.Window) -> None:
        self._caller.window(window)
        if self._state is State.CALLER_TURN:
            self._judge_silence()
        elif self._agent_state is not State.LISTENING:
            self._weigh(window)
        elif self._evidence:
            self._agent_finished_first()

    def _on_onset(self) -> None:
        self._caller.onset(self._onset_ms, is_in_turn=self._state is State.CALLER_TURN)
        self._withdraw_draft()
        if self._state is State.LISTENING:
            self._begin_turn("")

    def _ask_turn_model(self) -> None:
        if self._uses_turn_model and self._state is State.CALLER_TURN and not self._caller.is_asking:
            self._caller.is_asking = True
            self._todo.append(actions.AskTurnModel(self._caller.last_speech_ms))

    def _on_opinion(self, opinion: inputs.TurnOpinion) -> None:
        self._caller.is_asking = False
        if opinion.asked_at_ms == self._caller.last_speech_ms:
            self._caller.sounds_complete = opinion.sounds_complete
        elif self._caller.is_paused:
            self._ask_turn_model()  # that was of an earlier pause

    def _on_words(self, words: inputs.Words) -> None:
        is_wanted = self._caller.take_transcript(is_final=words.is_final)
        text = self._understood(words)
        if self._state is State.CALLER_TURN:
            if is_wanted:
                self._turn.hear(text, is_final=words.is_final)
                self._report(text, is_final=words.is_final)
                self._judge_silence()
        elif words.is_final and not is_wanted:
            self._judge_late_words(text)
        elif words.is_final and self._evidence:
            self._evidence = replace(self._evidence, words=text)
            self._judge_voice(self._evidence)

    def _understood(self, words: inputs.Words) -> str:
        """The text without what the recognizer itself doubts: in a short sound that is a cough."""
        if not words.is_final or words.confidence is None or words.confidence >= self._config.unclear_confidence:
            return words.text
        return "" if self._caller.speech_ms < self._config.barge_in.word_ms else UNCLEAR

    # The caller's turn

    def _begin_turn(self, words: str) -> None:
        self._turn = CallerTurn(said=words)
        self._evidence = self._unheard = None
        self._set_state(State.CALLER_TURN)
        self._todo.append(actions.BeginTurn())
        self._report(words, is_final=True)

    def _judge_silence(self) -> None:
        if not self._caller.is_paused:
            return
        words = self._turn.words
        silence = self._caller.silence(words)
        if self._drafted not in (None, words):
            self._withdraw_draft()
        if is_turn_over(silence, self._config.endpointing):
            self._end_turn(words)
        elif (
            self._config.draft_reply
            and self._drafted is None
            and may_be_over(silence)
            and self._agent is AgentPhase.IDLE
        ):
            self._drafted = words
            self._ask(actions.Draft(words))

    def _end_turn(self, words: str) -> None:
        self._close_turn(is_answered=bool(words))
        if self._drafted is not None:
            self._todo.append(actions.Release())
        elif words:
            self._ask(actions.Ask(words))
        self._drafted = None
        self._set_state(self._agent_state)

    def _close_turn(self, *, is_answered: bool) -> None:
        self._caller.ignore_due()
        if self._has_reported_interim:
            self._report(self._turn.saying, is_final=True)
        self._todo.append(actions.EndTurn(self._caller.silence_ms, is_answered))

    def _withdraw_draft(self) -> None:
        """The caller goes on: what was prepared is dropped, unheard."""
        if self._drafted is not None:
            self._drafted = None
            self._forget_reply()
            self._todo.append(actions.Withdraw())

    def _ask(self, question: actions.Ask | actions.Draft) -> None:
        self._todo.append(question)
        self._is_reply_asked = self._agent is AgentPhase.IDLE

    def _report(self, text: str, *, is_final: bool) -> None:
        """Report what the caller says, and that an interim came to nothing; but nothing that is no turn."""
        if text.strip() or (is_final and self._has_reported_interim):
            self._has_reported_interim = not is_final
            self._todo.append(actions.Report(text, is_final))

    # The caller's voice over the agent's

    def _weigh(self, window: inputs.Window) -> None:
        if self._evidence is None:
            if not window.is_sound:
                return
            self._evidence = Evidence()
        self._evidence = self._evidence.with_window(window)
        self._judge_voice(self._evidence)
        if self._state in (State.DUCKED, State.MUTED):
            self._todo.append(actions.TopUp())

    def _judge_voice(self, evidence: Evidence) -> None:
        decision = decide(evidence, self._state, self._config.barge_in)
        match decision:
            case actions.Duck() | actions.Mute():
                self._set_state(State.DUCKED if decision.type == "duck" else State.MUTED)
                self._todo.append(decision)
            case actions.Resume():
                self._resume(decision)
            case actions.Cut():
                self._cut(decision, evidence.words or "")
            case None:
                pass

    def _judge_late_words(self, text: str) -> None:
        """A recognizer was slower than the patience with a silent agent: what it heard may still ask for the floor."""
        if self._unheard:
            decision = decide(replace(self._unheard, words=text), State.MUTED, self._config.barge_in)
            if isinstance(decision, actions.Cut):
                self._cut(actions.Cut("late words", decision.after_ms), text)

    def _resume(self, decision: actions.Resume) -> None:
        self._unheard = self._evidence if self._evidence and self._evidence.words is None else None
        self._caller.ignore_due()
        self._let_pass(decision)

    def _cut(self, decision: actions.Cut, words: str) -> None:
        """The caller interrupts, with these words if they are known."""
        self._todo.append(decision)
        self._forget_reply()
        self._begin_turn(words)

    def _agent_finished_first(self) -> None:
        """The agent fell silent by itself while the caller's voice was being weighed: it is a turn like any other."""
        evidence = self._evidence or Evidence()
        decision = actions.Resume("the agent had finished", evidence.age_ms)
        if evidence.words or not self._caller.is_paused:
            self._let_pass(decision)
            self._begin_turn(evidence.words or "")
        else:
            self._resume(decision)

    def _let_pass(self, decision: actions.Resume) -> None:
        """End the evidence; an agent that was lowered goes on."""
        self._evidence = None
        if self._state in (State.DUCKED, State.MUTED):
            self._todo.append(decision)
            self._set_state(self._agent_state)

    # The agent

    @property
    def _agent_state(self) -> State:
        """The state that is the agent's while the caller leaves it alone."""
        return State.THINKING if self._is_reply_asked else _STATE_OF[self._agent]

    def _on_agent(self, phase: AgentPhase) -> None:
        self._agent = phase
        if phase is not AgentPhase.IDLE:
            self._is_reply_asked = False
        if self._state in (State.LISTENING, State.THINKING, State.SPEAKING):
            self._set_state(self._agent_state)

    def _on_typed(self, typed: inputs.Typed) -> None:
        self._withdraw_draft()
        if not typed.wants_reply:
            self._todo.append(actions.Note(typed.text))
            return
        if self._state is State.CALLER_TURN:  # what was said so far stands before the text
            self._close_turn(is_answered=True)
            self._todo += [actions.Note(words)] if (words := self._turn.words) else []
        self._ask(actions.Ask(typed.text))
        if self._state in (State.LISTENING, State.CALLER_TURN):
            self._set_state(self._agent_state)

    def _on_cancel(self) -> None:
        self._todo.append(actions.Stop(is_draft=self._drafted is not None))
        self._drafted = None
        self._forget_reply()
        if self._state is not State.CALLER_TURN:
            self._set_state(State.LISTENING)

    def _forget_reply(self) -> None:
        """Nothing of what the agent was doing goes on."""
        self._agent = AgentPhase.IDLE
        self._is_reply_asked = False

    def _set_state(self, state: State) -> None:
        if state is not self._state:
            _log.debug("%s -> %s at %d ms", self._state, state, self.now_ms)
            self._state = state
