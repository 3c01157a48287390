"""The end of the caller's turn: how long a silence must be."""

from dataclasses import replace

import pytest

from pipelines.turn_taking.config import EndpointingConfig
from pipelines.turn_taking.endpointing import PauseHabit, Silence, is_turn_over, may_be_over, required_silence_ms
from pipelines.turn_taking.lexicon import asks_for_floor, is_unfinished

CONFIG = EndpointingConfig()
ASKED = Silence(0, "what time is it", is_transcribed=True)


def test_what_was_said_and_how_sets_the_silence() -> None:
    for case, required_ms in (
        (replace(ASKED, sounds_complete=True), CONFIG.complete_ms),
        (replace(ASKED, sounds_complete=False), CONFIG.likely_ms),  # a hint only
        (ASKED, CONFIG.likely_ms),
        (replace(ASKED, words="i would like a table for", sounds_complete=True), CONFIG.incomplete_ms),
        (replace(ASKED, words=""), CONFIG.wordless_ms),
        (replace(ASKED, is_transcribed=False), CONFIG.transcript_wait_ms),
        (replace(ASKED, words="", is_transcribed=False), CONFIG.transcript_wait_ms),
    ):
        assert required_silence_ms(case, CONFIG) == required_ms, case


def test_turn_ends_exactly_when_the_silence_is_long_enough() -> None:
    assert not is_turn_over(replace(ASKED, silence_ms=CONFIG.likely_ms - 1), CONFIG)
    assert is_turn_over(replace(ASKED, silence_ms=CONFIG.likely_ms), CONFIG)


def test_a_draft_needs_known_words_that_make_a_thought() -> None:
    assert may_be_over(ASKED)
    for case in (replace(ASKED, words="tell me a"), replace(ASKED, is_transcribed=False), replace(ASKED, words=" ")):
        assert not may_be_over(case), case


def test_a_slow_caller_is_given_time() -> None:
    habit = PauseHabit().after(800).after(800)
    assert habit.usual_ms == pytest.approx(800)
    slow = replace(ASKED, sounds_complete=True, usual_pause_ms=habit.usual_ms)
    assert required_silence_ms(slow, CONFIG) == pytest.approx(800 * CONFIG.adaptation)


def test_no_habit_waits_longer_than_an_unfinished_thought() -> None:
    assert required_silence_ms(replace(ASKED, usual_pause_ms=10_000), CONFIG) == CONFIG.incomplete_ms


def test_habit_follows_the_caller() -> None:
    habit = PauseHabit().after(200)
    for _ in range(20):
        habit = habit.after(600)
    assert habit.usual_ms == pytest.approx(600, abs=5)


def test_words_that_stop_in_mid_thought() -> None:
    for words in ("a table for", "and", "call me at um", "my…"):
        assert is_unfinished(words), words
    for words in ("what time is it", "stop", "hold on", ""):
        assert not is_unfinished(words), words


def test_words_that_ask_for_the_floor() -> None:
    for words in ("stop", "no", "… stop", "could you stop", "yeah but", "mhm stop"):
        assert asks_for_floor(words), words
    for words in ("mhm", "Uh-huh.", "…", "yeah okay", "", "could you", "Right. Sure!"):
        assert not asks_for_floor(words), words
