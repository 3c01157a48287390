"""The turn machine in virtual time: final words that come after the voice that they belong to was let pass."""

from typing import Any

from pipelines.turn_taking import actions
from pipelines.turn_taking.inputs import AgentPhase


def test_late_words_may_still_cut_once(speaking: Any) -> None:
    speaking.voice(13)
    speaking.silence(14)
    assert speaking.take() == ["duck", "mute", "resume"]
    speaking.words("stop please")
    assert speaking.only(actions.Cut) == [actions.Cut("late words", 25 * 32)]
    assert speaking.take() == ["cut", "begin_turn", "report"]


def test_late_words_that_ask_for_nothing_are_forgotten(speaking: Any) -> None:
    for words in ("mhm", ""):
        speaking.voice(13)
        speaking.silence(14)
        speaking.take()
        speaking.words(words)
        speaking.words("stop please")  # belongs to nothing
        assert speaking.take() == []
        speaking.silence(3)


def test_a_voice_with_a_pause_in_it_has_words_twice(speaking: Any) -> None:
    """Each pause was a flush; any of the late finals may ask for the floor."""
    speaking.voice(5)
    speaking.silence(6)
    speaking.voice(6)
    speaking.silence(14)
    assert speaking.take() == ["duck", "mute", "resume"]
    speaking.words("mhm")
    assert speaking.take() == []
    speaking.words("stop please")
    assert speaking.take() == ["cut", "begin_turn", "report"]


def test_words_of_one_voice_may_come_during_the_next(speaking: Any) -> None:
    speaking.voice(13)
    speaking.silence(14)
    speaking.voice(1)
    assert speaking.take() == ["duck", "mute", "resume", "duck"]
    speaking.words("stop please")
    assert speaking.take() == ["cut", "begin_turn", "report"]


def test_words_may_come_after_the_agent_has_finished(speaking: Any) -> None:
    """It ended between the caller's pause and the final words: they are judged all the same."""
    speaking.voice(13)
    speaking.silence(7)
    speaking.agent(AgentPhase.IDLE)
    speaking.silence(1)
    assert speaking.take() == ["duck", "mute", "resume"]
    speaking.words("stop please")
    assert speaking.take() == ["cut", "begin_turn", "report"]


def test_late_words_of_a_turn_are_not_judged_by_a_voice_before_it(speaking: Any) -> None:
    speaking.voice(13)
    speaking.silence(14)  # let pass; its words never come
    speaking.agent(AgentPhase.IDLE)
    speaking.voice(20)
    speaking.silence(70)  # nor do those of a whole turn
    speaking.agent(AgentPhase.SPEAKING)
    speaking.take()
    speaking.words("stop please")
    speaking.words("stop please")
    assert speaking.take() == []


def test_words_of_a_voice_that_was_judged_by_its_words_come_once(speaking: Any) -> None:
    speaking.voice(13)
    speaking.silence(7)
    speaking.words("mhm")
    assert speaking.take() == ["duck", "mute", "resume"]
    speaking.words("stop please")
    assert speaking.take() == []
    speaking.silence(20)
    speaking.voice(13)
    speaking.silence(7)
    speaking.take()
    speaking.words("stop please")  # the next voice's own words count again
    assert speaking.take() == ["cut", "begin_turn", "report"]


def test_words_of_the_turn_before_do_not_count_for_the_next(turns: Any) -> None:
    """Its final came after the turn was over; the next turn's own is heard."""
    turns.voice(20)
    turns.words("hello", is_final=False)
    turns.silence(70)
    turns.agent(AgentPhase.THINKING)
    turns.agent(AgentPhase.IDLE)
    turns.take()
    turns.voice(20)
    turns.words("hello hello")
    turns.words("hello", is_final=False)
    turns.silence(7)
    turns.words("what time is it")
    drafts = turns.only(actions.Draft)
    assert drafts == [actions.Draft("what time is it")]
