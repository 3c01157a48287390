"""The end of the caller's turn: how long a silence must be."""

import pytest

from pipelines.turn_taking.config import EndpointingConfig
from pipelines.turn_taking.endpointing import Pause, PauseHabit, is_turn_over, is_unfinished, required_silence_ms

CONFIG = EndpointingConfig()


def pause(words: str = "what time is it", *, silence_ms: int = 0, **facts: object) -> Pause:
    return Pause(silence_ms=silence_ms, words=words, **{"is_transcribed": True, **facts})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("case", "required_ms"),
    [
        (pause(sounds_complete=True), CONFIG.complete_ms),
        (pause(sounds_complete=False), CONFIG.likely_ms),  # a hint only
        (pause(sounds_complete=None), CONFIG.likely_ms),
        (pause("i would like a table for", sounds_complete=True), CONFIG.incomplete_ms),
        (pause(""), CONFIG.wordless_ms),
        (pause(is_transcribed=False), CONFIG.transcript_wait_ms),
        (pause("", is_transcribed=False), CONFIG.transcript_wait_ms),
    ],
)
def test_required_silence(case: Pause, required_ms: float) -> None:
    assert required_silence_ms(case, CONFIG) == required_ms


def test_turn_ends_exactly_when_the_silence_is_long_enough() -> None:
    assert not is_turn_over(pause(silence_ms=CONFIG.likely_ms - 1), CONFIG)
    assert is_turn_over(pause(silence_ms=CONFIG.likely_ms), CONFIG)


def test_a_slow_caller_is_given_time() -> None:
    habit = PauseHabit().after(800).after(800)
    assert habit.usual_ms == pytest.approx(800)
    slow = pause(sounds_complete=True, usual_pause_ms=habit.usual_ms)
    assert required_silence_ms(slow, CONFIG) == pytest.approx(800 * CONFIG.adaptation)


def test_no_habit_waits_longer_than_an_unfinished_thought() -> None:
    assert required_silence_ms(pause(usual_pause_ms=10_000), CONFIG) == CONFIG.incomplete_ms


def test_habit_follows_the_caller() -> None:
    habit = PauseHabit().after(200)
    for _ in range(20):
        habit = habit.after(600)
    assert habit.usual_ms == pytest.approx(600, abs=5)


@pytest.mark.parametrize(
    ("words", "unfinished"),
    [
        ("a table for", True),
        ("and", True),
        ("call me at um", True),
        ("what time is it", False),
        ("stop", False),
        ("hold on", False),
        ("", False),
    ],
)
def test_is_unfinished(words: str, *, unfinished: bool) -> None:
    assert is_unfinished(words) is unfinished
