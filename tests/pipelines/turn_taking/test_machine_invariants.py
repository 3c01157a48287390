"""What holds of the turn machine whatever happens, in whatever order."""

from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.turn_taking import actions, inputs
from pipelines.turn_taking.config import TurnTakingConfig
from pipelines.turn_taking.inputs import WINDOW_MS, AgentPhase
from pipelines.turn_taking.machine import TurnMachine
from pipelines.turn_taking.state import State

TEXTS = st.sampled_from(["", "mhm", "stop", "tell me a", "what time is it", "…"])
KINDS = st.one_of(
    st.builds(
        lambda count, is_speech, is_voiced, is_hum, is_sibilant: (
            [inputs.Window(0, is_speech, is_speech and is_voiced, is_speech and is_hum, is_sibilant)] * count
        ),
        st.integers(1, 25),
        st.booleans(),
        st.booleans(),
        st.booleans(),
        st.booleans(),
    ),
    st.just([inputs.Onset(0)]),
    st.just([inputs.Pause(0)]),
    st.builds(
        lambda text, is_final, confidence: [inputs.Words(0, text, is_final, confidence)],
        TEXTS,
        st.booleans(),
        st.sampled_from([None, 0.1, 0.9]),
    ),
    st.builds(lambda sounds: [inputs.TurnOpinion(0, 0, sounds)], st.sampled_from([None, True, False])),
    st.builds(lambda phase: [inputs.AgentChanged(0, phase)], st.sampled_from(AgentPhase)),
    st.builds(lambda text, wants_reply: [inputs.Typed(0, text, wants_reply)], TEXTS, st.booleans()),
    st.just([inputs.Cancel(0)]),
)
CALLS = st.lists(KINDS, max_size=40).map(lambda parts: [said for part in parts for said in part])


def run(call: list[inputs.Input], machine: TurnMachine) -> list[tuple[actions.Action, ...]]:
    """The actions of each input, times given by the windows."""
    now_ms = 0
    done: list[tuple[actions.Action, ...]] = []
    for said in call:
        now_ms += WINDOW_MS * isinstance(said, inputs.Window)
        done.append(tuple(machine.feed(replace(said, at_ms=now_ms))))
    return done


def new(**config: Any) -> TurnMachine:
    return TurnMachine(TurnTakingConfig.model_validate(config), onset_ms=64, uses_turn_model=True)


@settings(max_examples=300, deadline=None)
@given(call=CALLS)
def test_whatever_happens(call: list[inputs.Input]) -> None:
    """Turns begin and end in turn; what is lowered, drafted or asked comes to exactly one end."""
    machine = new()
    is_turn = is_lowered = is_drafted = is_asking = False
    for said, done in zip(call, run(call, machine), strict=True):
        is_asking = is_asking and not isinstance(said, inputs.TurnOpinion)
        for action in done:
            match action:
                case actions.BeginTurn():
                    assert not is_turn
                    is_turn = True
                case actions.EndTurn():
                    assert is_turn
                    is_turn = False
                case actions.Duck():
                    assert not is_lowered and not is_turn
                    is_lowered = True
                case actions.Mute() | actions.TopUp():
                    assert is_lowered
                case actions.Resume():
                    assert is_lowered
                    is_lowered = False
                case actions.Cut():
                    assert not is_turn
                    is_lowered = False
                case actions.Stop():
                    assert action.is_draft == is_drafted
                    is_lowered = is_drafted = False
                case actions.Draft():
                    assert is_turn and not is_drafted
                    is_drafted = True
                case actions.Release():
                    assert is_drafted and not is_turn
                    is_drafted = False
                case actions.Withdraw():
                    assert is_drafted
                    is_drafted = False
                case actions.AskTurnModel():
                    assert not is_asking
                    is_asking = True
                case _:
                    pass
    assert is_turn == (machine.state is State.CALLER_TURN)
    assert is_lowered == (machine.state in (State.DUCKED, State.MUTED))


@settings(max_examples=200, deadline=None)
@given(call=CALLS)
def test_the_caller_can_always_get_the_floor(call: list[inputs.Input]) -> None:
    """Whatever came before: a client's stop, or the agent's silence, leaves nothing behind that holds it."""
    machine = new()
    run([*call, inputs.Cancel(0)], machine)
    if machine.state is State.CALLER_TURN:
        return
    assert machine.state is State.LISTENING
    (done,) = run([inputs.Onset(0)], machine)
    assert [action.type for action in done] == ["begin_turn"]


@settings(max_examples=100, deadline=None)
@given(call=CALLS)
def test_the_same_inputs_lead_to_the_same_actions(call: list[inputs.Input]) -> None:
    assert run(call, new()) == run(call, new())
