"""The turn machine in virtual time: the caller's voice over the agent's, and who has the floor afterwards."""

from dataclasses import replace
from typing import Any

from pipelines.turn_taking import actions, inputs
from pipelines.turn_taking.inputs import AgentPhase, Window
from pipelines.turn_taking.state import State

VOICE = Window(0, is_speech=True, is_voiced=True)
COUGH = Window(0, is_speech=True)
CLICK = Window(0, is_sibilant=True)


def test_a_lasting_voice_ducks_mutes_and_cuts_once(speaking: Any) -> None:
    began_ms = speaking.now_ms
    speaking.voice(60)
    decisions = [(at_ms - began_ms, action) for at_ms, action in speaking.done if isinstance(action, actions.Decision)]
    assert decisions == [
        (32, actions.Duck("sound", 32)),
        (192, actions.Mute("voice", 192)),
        (608, actions.Cut("lasting voice", 608)),
    ]
    assert speaking.take() == ["duck", "mute", "cut", "begin_turn"]
    assert speaking.state is State.CALLER_TURN


def test_while_lowered_playout_is_topped_up_with_every_window(speaking: Any) -> None:
    speaking.voice(3)
    assert len(speaking.only(actions.TopUp)) == 3
    speaking.silence(20)
    speaking.done.clear()
    speaking.silence(5)
    assert not speaking.done


def test_a_cough_is_let_pass_and_the_next_one_is_weighed_from_its_own_start(speaking: Any) -> None:
    for _ in range(3):
        speaking.hear(COUGH, 3)
        assert speaking.state is State.DUCKED
        speaking.silence(14)
        assert speaking.state is State.SPEAKING
        assert speaking.only(actions.Duck) == [actions.Duck("sound", 32)]
        assert speaking.take() == ["duck", "resume"]
        speaking.silence(3)


def test_a_cough_leaves_a_thinking_agent_thinking(turns: Any) -> None:
    turns.says("hello")
    turns.take()
    turns.hear(COUGH, 1)
    assert turns.state is State.DUCKED
    turns.silence(14)
    assert turns.state is State.THINKING  # it has not even begun
    turns.agent(AgentPhase.THINKING)
    turns.hear(COUGH, 1)
    turns.silence(14)
    assert turns.state is State.THINKING


def test_the_click_of_a_key_does_nothing(speaking: Any) -> None:
    speaking.hear(CLICK)
    speaking.silence(20)
    assert speaking.take() == []


def test_final_words_cut_and_begin_the_turn(speaking: Any) -> None:
    speaking.voice(12)
    speaking.silence(7)
    speaking.take()
    speaking.words("stop please")
    assert speaking.only(actions.Cut) == [actions.Cut("words", 19 * 32)]
    assert speaking.take() == ["cut", "begin_turn", "report"]
    speaking.silence(15)
    assert speaking.take() == ["draft", "end_turn", "release"]


def test_words_over_the_agent_are_taken_at_their_end_and_if_they_are_sure(speaking: Any) -> None:
    speaking.voice(12)
    speaking.words("stop", is_final=False)
    speaking.silence(7)
    speaking.take()
    speaking.words("stop", confidence=0.3)
    assert speaking.take() == ["resume"]


def test_the_agent_does_not_hold_the_floor_for_ever_after_an_interruption(speaking: Any) -> None:
    """The reply that was dropped is not waited for, nor is the one that answers once it has been heard."""
    speaking.voice(60)
    assert speaking.state is State.CALLER_TURN
    speaking.silence(7)
    speaking.words("what time is it")
    speaking.silence(15)
    assert speaking.state is State.THINKING
    speaking.agent(AgentPhase.THINKING)
    speaking.agent(AgentPhase.SPEAKING)
    assert speaking.state is State.SPEAKING
    speaking.agent(AgentPhase.IDLE)
    assert speaking.state is State.LISTENING
    speaking.take()
    speaking.says("thank you")
    assert speaking.take() == ["begin_turn", "report", "draft", "end_turn", "release"]


def test_an_interruption_without_words_gives_the_floor_back(speaking: Any) -> None:
    """Nothing is known of the dropped reply any more: a turn without words ends in nobody's floor."""
    speaking.voice(20)
    speaking.silence(7)
    speaking.words("")
    speaking.silence(30)
    assert speaking.state is State.LISTENING


def test_a_reply_that_was_cut_before_it_began_is_not_waited_for(turns: Any) -> None:
    turns.says("hello")
    turns.voice(20)
    assert turns.state is State.CALLER_TURN
    turns.silence(7)
    turns.words("")
    turns.silence(30)
    assert turns.state is State.LISTENING


def test_the_end_of_a_dropped_reply_is_not_the_end_of_the_next(turns: Any) -> None:
    turns.says("hello")
    assert turns.state is State.THINKING
    turns.agent(AgentPhase.IDLE)  # of what was dropped before
    assert turns.state is State.THINKING
    turns.agent(AgentPhase.THINKING)
    turns.agent(AgentPhase.IDLE)
    assert turns.state is State.LISTENING


def test_a_reopened_turn_goes_on(turns: Any) -> None:
    """Nothing had been heard of the reply: what the caller adds belongs to the same turn."""
    turns.says("a table")
    turns.agent(AgentPhase.THINKING)
    turns.take()
    turns.voice(20)
    assert turns.take() == ["duck", "mute", "cut", "begin_turn"]
    turns.feed(inputs.Reopened(turns.now_ms, "a table"))
    turns.silence(7)
    turns.words("for two please")
    assert turns.only(actions.Draft) == [actions.Draft("a table for two please")]


def test_the_words_that_cut_belong_behind_those_of_the_turn_that_goes_on(turns: Any) -> None:
    turns.says("a table")
    turns.agent(AgentPhase.THINKING)
    turns.voice(16)
    turns.silence(7)
    turns.words("for two please")
    turns.take()
    turns.feed(inputs.Reopened(turns.now_ms, "a table"))
    turns.silence(1)
    assert turns.only(actions.Draft) == [actions.Draft("a table for two please")]


def test_a_reopened_turn_without_further_words_is_answered(turns: Any) -> None:
    turns.says("a table")
    turns.agent(AgentPhase.THINKING)
    turns.voice(20)
    turns.feed(inputs.Reopened(turns.now_ms, "a table"))
    turns.silence(7)
    turns.words("")
    turns.silence(20)
    assert turns.only(actions.EndTurn)[-1].is_answered  # type: ignore[union-attr]


def test_an_agent_that_finishes_while_the_caller_speaks_makes_way(speaking: Any) -> None:
    speaking.voice(4)
    speaking.take()
    speaking.agent(AgentPhase.IDLE)
    speaking.voice(1)
    assert speaking.take() == ["resume", "begin_turn"]
    assert speaking.state is State.CALLER_TURN


def test_an_agent_that_finishes_after_a_cough_leaves_nobody_the_floor(speaking: Any) -> None:
    speaking.hear(COUGH, 1)
    speaking.agent(AgentPhase.IDLE)
    speaking.silence(1)
    assert speaking.take() == ["duck", "resume"]
    assert speaking.state is State.LISTENING


def test_a_sound_that_was_not_noticed_yet_is_forgotten_with_the_agent(speaking: Any) -> None:
    """Else its evidence would wait for the agent's next word, and make short words of the turn a cough."""
    speaking.hear(CLICK)
    speaking.agent(AgentPhase.IDLE)
    speaking.hear(VOICE, 20)
    speaking.silence(7)
    speaking.words("what time is it", confidence=0.4)
    assert speaking.only(actions.Draft) == [actions.Draft("…")]
    speaking.silence(20)
    speaking.agent_speaks()
    speaking.hear(COUGH, 1)
    assert speaking.only(actions.Duck) == [actions.Duck("sound", 32)]


def test_voice_detection_alone_begins_no_turn_over_the_agent(speaking: Any) -> None:
    speaking.feed(inputs.Onset(speaking.now_ms))
    assert speaking.take() == []
    assert speaking.state is State.SPEAKING


def test_a_client_cancels_what_the_agent_says(speaking: Any) -> None:
    for windows in (0, 1, 8):  # not lowered, ducked, muted
        speaking.voice(windows)
        speaking.done.clear()
        assert speaking.feed(inputs.Cancel(speaking.now_ms)) == [actions.Stop(is_draft=False)]
        assert speaking.state is State.LISTENING
        speaking.silence(7)
        speaking.words("")
        speaking.silence(30)
        assert "resume" not in speaking.take()
        speaking.says("go on")
        speaking.agent_speaks()
        speaking.silence(3)


def test_a_caller_who_speaks_on_after_a_stop_has_the_floor(speaking: Any) -> None:
    """Voice detection says no second time that the caller has begun."""
    speaking.voice(4)
    speaking.feed(inputs.Cancel(speaking.now_ms))
    speaking.take()
    speaking.voice(1)
    assert speaking.take() == ["begin_turn"]


def test_a_greeting_can_be_interrupted(turns: Any) -> None:
    turns.agent(AgentPhase.THINKING)
    assert turns.state is State.THINKING
    turns.agent(AgentPhase.SPEAKING)
    turns.voice(20)
    assert turns.take() == ["duck", "mute", "cut", "begin_turn"]


def test_an_agent_that_speaks_when_it_is_asked_is_not_waited_for_twice(turns: Any) -> None:
    """It began in the caller's turn, and what answers the turn follows on without a gap."""
    turns.voice(10)
    turns.agent(AgentPhase.SPEAKING)
    turns.silence(7)
    turns.words("what time is it")
    turns.silence(15)
    assert turns.state is State.SPEAKING
    turns.agent(AgentPhase.IDLE)
    assert turns.state is State.LISTENING


def test_an_agent_that_begins_in_the_callers_turn_has_the_floor_after_it(turns: Any) -> None:
    turns.voice(10)
    turns.agent(AgentPhase.SPEAKING)
    assert turns.state is State.CALLER_TURN
    turns.silence(7)
    turns.words("")
    turns.silence(20)
    assert turns.state is State.SPEAKING
    turns.take()
    turns.hear(replace(COUGH), 1)
    assert turns.take() == ["duck"]
