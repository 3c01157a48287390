"""The turn machine in virtual time: the caller's turns, and what the agent is asked for."""

import logging
from collections.abc import Callable
from typing import Any

import pytest

from pipelines.turn_taking import actions, inputs
from pipelines.turn_taking.caller import CallerState
from pipelines.turn_taking.config import EndpointingConfig, TurnTakingConfig
from pipelines.turn_taking.inputs import AgentPhase
from pipelines.turn_taking.state import State

CONFIG = EndpointingConfig()
NO_DRAFT = TurnTakingConfig(draft_reply=False)

TurnsOf = Callable[..., Any]


def test_a_turn_is_drafted_at_its_pause_and_released_at_its_end(turns: Any) -> None:
    turns.voice(20)
    assert turns.take() == ["begin_turn"]
    turns.silence(7)
    turns.words("what time is it")
    assert turns.done == [
        (turns.now_ms, actions.Report("what time is it", is_final=True)),
        (turns.now_ms, actions.Draft("what time is it")),
    ]
    turns.take()
    turns.silence(15)
    assert turns.take() == ["end_turn", "release"]
    assert turns.state is State.THINKING


def test_the_end_of_a_turn_tells_how_long_ago_it_was(turns: Any) -> None:
    turns.says("what time is it")
    assert turns.only(actions.EndTurn) == [actions.EndTurn(CONFIG.likely_ms, is_answered=True)]


def test_without_drafts_the_reply_is_asked_for_at_the_end(turns_of: TurnsOf) -> None:
    turns = turns_of(NO_DRAFT)
    turns.says("what time is it")
    assert turns.only(actions.Ask) == [actions.Ask("what time is it")]
    assert turns.take() == ["begin_turn", "report", "end_turn", "ask"]
    assert turns.state is State.THINKING


def test_a_turn_without_words_ends_without_a_reply(turns: Any) -> None:
    turns.voice(10)
    turns.silence(7)
    turns.words("")
    turns.silence(40)
    assert turns.only(actions.EndTurn) == [actions.EndTurn(704, is_answered=False)]
    assert turns.take() == ["begin_turn", "end_turn"]
    assert turns.state is State.LISTENING


def test_a_turn_does_not_end_while_the_caller_speaks(turns: Any) -> None:
    turns.voice(20)
    turns.words("what time is it")
    turns.voice(50)
    assert turns.take() == ["begin_turn", "report"]
    assert turns.state is State.CALLER_TURN


def test_words_that_are_due_are_waited_for(turns: Any) -> None:
    turns.voice(20)
    turns.silence(50)
    assert turns.take() == ["begin_turn"]
    turns.silence(13)
    assert turns.only(actions.EndTurn) == [actions.EndTurn(2016, is_answered=False)]  # the recognizer never answered


def test_going_on_withdraws_the_draft(turns: Any) -> None:
    turns.voice(20)
    turns.silence(7)
    turns.words("tell me a story")
    turns.take()
    turns.voice(20)
    assert turns.take() == ["withdraw"]
    turns.silence(7)
    turns.words("about a lighthouse")
    assert turns.only(actions.Draft) == [actions.Draft("tell me a story about a lighthouse")]
    turns.silence(20)
    assert turns.take() == ["report", "draft", "end_turn", "release"]


def test_other_words_make_another_draft(turns: Any) -> None:
    turns.voice(20)
    turns.silence(7)
    turns.words("tell me a story")
    turns.take()
    turns.words("about a lighthouse")
    assert turns.take() == ["report", "withdraw", "draft"]
    turns.silence(1)
    assert turns.take() == []


def test_a_pause_in_mid_turn_becomes_a_habit(turns: Any) -> None:
    turns.voice(20)
    turns.silence(7)
    turns.words("i would like a")
    turns.silence(18)  # 800 ms
    turns.voice(20)
    turns.silence(7)
    turns.words("table please")
    turns.silence(24)  # 992 ms: of another caller the turn were over
    assert "end_turn" not in turns.take()
    turns.silence(1)
    assert "end_turn" in turns.take()


def test_a_pause_is_measured_to_the_first_window_of_the_next_voice() -> None:
    """However many windows voice detection takes to be sure of it."""
    caller = CallerState()
    caller.window(inputs.Window(32, is_speech=True))
    caller.pause()
    for at_ms in (832, 864, 896):
        caller.window(inputs.Window(at_ms, is_speech=True))
    caller.onset(96, is_in_turn=True)
    assert caller.habit.usual_ms == 768


def test_a_pause_between_turns_is_no_habit(turns: Any) -> None:
    turns.says("what time is it")
    turns.agent_speaks()
    turns.agent(AgentPhase.IDLE)
    turns.silence(30)
    turns.says("thank you")
    assert turns.only(actions.EndTurn) == [actions.EndTurn(CONFIG.likely_ms, is_answered=True)]


def test_an_interim_is_told_and_made_final_if_nothing_better_comes(turns: Any) -> None:
    turns.voice(20)
    turns.words("tell me a", is_final=False)
    turns.words("tell me a story", is_final=False)
    turns.silence(80)
    texts = [(report.text, report.is_final) for report in turns.only(actions.Report)]
    assert texts == [("tell me a", False), ("tell me a story", False), ("tell me a story", True)]
    assert turns.only(actions.Ask) == [actions.Ask("tell me a story")]


def test_an_interim_that_comes_to_nothing_is_taken_back(turns: Any) -> None:
    turns.voice(6)
    turns.words("what", is_final=False)
    turns.silence(7)
    turns.words("")
    turns.words("")
    texts = [(report.text, report.is_final) for report in turns.only(actions.Report)]
    assert texts == [("what", False), ("", True)]


def test_words_that_the_recognizer_doubts(turns: Any) -> None:
    """In a short sound they are a cough; in a long one the caller is asked again."""
    for windows, understood in ((6, []), (30, ["…"]), (6, [])):
        turns.voice(windows)
        turns.silence(7)
        turns.words("half a loaf", confidence=0.3)
        turns.silence(40)
        assert [draft.text for draft in turns.only(actions.Draft)] == understood
        turns.agent(AgentPhase.THINKING)
        turns.agent(AgentPhase.IDLE)
        turns.take()


def test_words_that_it_does_not_doubt_are_taken(turns: Any) -> None:
    turns.voice(6)
    turns.silence(7)
    turns.words("half", confidence=0.5)
    assert turns.only(actions.Draft) == [actions.Draft("half")]


def test_an_interim_is_not_doubted(turns: Any) -> None:
    turns.voice(6)
    turns.words("half", is_final=False, confidence=0.1)
    assert turns.only(actions.Report) == [actions.Report("half", is_final=False)]


def test_the_turn_model_is_asked_once_a_pause_and_heard_for_that_pause_alone(turns_of: TurnsOf) -> None:
    turns = turns_of(NO_DRAFT, uses_turn_model=True)
    turns.voice(20)
    spoke_until_ms = turns.now_ms
    turns.silence(6)
    assert turns.only(actions.AskTurnModel) == [actions.AskTurnModel(spoke_until_ms)]
    turns.take()
    turns.voice(2)
    turns.silence(6)
    assert turns.take() == []  # it has not answered yet
    turns.feed(inputs.TurnOpinion(turns.now_ms, spoke_until_ms, sounds_complete=True))
    assert turns.take() == ["ask_turn_model"]  # that opinion was of the pause before
    turns.words("what time is it")
    turns.words("please")
    turns.silence(3)
    assert turns.take() == ["report", "report"]
    turns.silence(5)
    assert turns.take() == ["end_turn", "ask"]


def test_a_turn_that_sounds_complete_ends_sooner(turns_of: TurnsOf) -> None:
    turns = turns_of(NO_DRAFT, uses_turn_model=True)
    turns.voice(20)
    spoke_until_ms = turns.now_ms
    turns.silence(6)
    turns.feed(inputs.TurnOpinion(turns.now_ms, spoke_until_ms, sounds_complete=True))
    turns.words("what time is it")
    turns.silence(2)
    assert turns.only(actions.EndTurn) == [actions.EndTurn(CONFIG.complete_ms, is_answered=True)]
    turns.take()
    turns.agent(AgentPhase.THINKING)
    turns.agent(AgentPhase.IDLE)
    turns.voice(20)  # the next turn is asked about anew, and judged by nothing until then
    turns.silence(6)
    turns.words("and now")
    turns.silence(3)
    assert turns.take() == ["begin_turn", "ask_turn_model", "report"]


def test_outside_turns_and_without_a_turn_model_nobody_is_asked(turns_of: TurnsOf) -> None:
    turns = turns_of(uses_turn_model=True)
    turns.agent_speaks()
    turns.voice(3)
    turns.silence(20)
    assert not turns.only(actions.AskTurnModel)
    turns = turns_of()
    turns.voice(20)
    turns.silence(6)
    assert turns.take() == ["begin_turn"]


def test_typed_text_is_asked_or_noted(turns: Any) -> None:
    turns.feed(inputs.Typed(0, "hello", wants_reply=True))
    turns.feed(inputs.Typed(0, "by the way", wants_reply=False))
    assert [action for _, action in turns.done] == [actions.Ask("hello"), actions.Note("by the way")]


def test_typed_text_withdraws_a_draft(turns: Any) -> None:
    turns.voice(20)
    turns.silence(7)
    turns.words("what time is it")
    turns.take()
    turns.feed(inputs.Typed(turns.now_ms, "never mind", wants_reply=True))
    assert turns.only(actions.Note) == [actions.Note("what time is it")]
    assert turns.take() == ["withdraw", "end_turn", "note", "ask"]
    assert turns.state is State.THINKING
    turns.silence(20)
    assert turns.take() == []


def test_text_typed_while_the_caller_speaks_ends_the_turn(turns: Any) -> None:
    """Else the reply would be spoken over a caller who is not listened to."""
    turns.voice(10)
    turns.take()
    turns.feed(inputs.Typed(turns.now_ms, "hello", wants_reply=True))
    assert turns.take() == ["end_turn", "ask"]
    turns.agent(AgentPhase.THINKING)
    turns.voice(20)
    assert turns.take() == ["duck", "mute", "cut", "begin_turn"]


def test_no_draft_stops_what_the_agent_is_saying(turns: Any) -> None:
    turns.voice(10)
    turns.agent(AgentPhase.SPEAKING)
    turns.silence(7)
    turns.words("what time is it")
    turns.silence(15)
    assert turns.take() == ["begin_turn", "report", "end_turn", "ask"]


def test_a_client_that_cancels_a_draft_still_gets_its_reply(turns: Any) -> None:
    turns.voice(20)
    turns.silence(7)
    turns.words("what time is it")
    turns.take()
    assert turns.feed(inputs.Cancel(turns.now_ms)) == [actions.Stop(is_draft=True)]
    assert turns.state is State.CALLER_TURN
    turns.silence(20)
    assert turns.take() == ["stop", "draft", "end_turn", "release"]


def test_every_state_is_logged_where_it_is_set(turns: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "pipelines.turn_taking.machine")
    turns.says("hello")
    turns.agent(AgentPhase.THINKING)
    turns.agent(AgentPhase.SPEAKING)
    turns.agent(AgentPhase.IDLE)
    assert [record.message.rpartition(" at ")[0] for record in caplog.records] == [
        "listening -> caller_turn",
        "caller_turn -> thinking",
        "thinking -> speaking",
        "speaking -> listening",
    ]
