"""The barge-in policy, in virtual time: each case is a stretch of voice over the agent's, window by window."""

from dataclasses import asdict, dataclass, replace

import pytest

from pipelines.barge_in import Decision, Evidence, asks_for_floor, decide
from pipelines.config import BargeInConfig

WINDOW_MS = 32
CONFIG = BargeInConfig()


@dataclass(frozen=True)
class Window:
    is_speech: bool = True
    is_sibilant: bool = False
    is_voiced: bool = True
    is_hum: bool = False


VOICE = Window()
HUM = Window(is_hum=True)
NOISE = Window(is_voiced=False)
SIBILANT = Window(is_speech=False, is_sibilant=True, is_voiced=False)
SILENCE = Window(is_speech=False, is_voiced=False)
REVERSIBLE = (Decision.SUSPECT, Decision.HUSH)


def play(
    windows: list[Window], words: dict[int, str] | None = None, final_at: int | None = None
) -> list[tuple[int, Decision]]:
    """Decisions with their times in ms, until one ends it; words and finals come at window numbers."""
    evidence = Evidence()
    decisions: list[tuple[int, Decision]] = []
    for number, window in enumerate(windows, start=1):
        evidence = replace(
            evidence.with_window(WINDOW_MS, **asdict(window)),
            words=(words or {}).get(number, evidence.words),
            is_transcribed=number == final_at or evidence.is_transcribed,
        )
        decision = decide(evidence, CONFIG).decision
        if decision is Decision.WAIT:
            continue
        decisions.append((number * WINDOW_MS, decision))
        if decision not in REVERSIBLE:
            break
        evidence = replace(evidence, stage=decision)
    return decisions


def test_sustained_speech_ducks_hushes_and_cuts_within_the_budget() -> None:
    assert play([VOICE] * 20) == [(64, Decision.SUSPECT), (192, Decision.HUSH), (608, Decision.CUT)]


def test_a_word_that_asks_for_the_floor_cuts_earlier() -> None:
    assert play([VOICE] * 20, words={4: "stop"}) == [(64, Decision.SUSPECT), (128, Decision.CUT)]


def test_a_sibilant_at_the_start_of_a_word_counts() -> None:
    """ "Stop" begins with 120 ms that voice detection does not hear."""
    assert play([SIBILANT] * 4 + [VOICE] * 8)[:2] == [(64, Decision.SUSPECT), (192, Decision.HUSH)]


def test_one_window_of_noise_does_nothing() -> None:
    assert play([VOICE] + [SILENCE] * 10) == [(192, Decision.RESUME)]


@pytest.mark.parametrize(
    ("sound", "words"),
    [
        ([NOISE] * 12 + [SILENCE] * 20, {}),
        ([SIBILANT] * 20 + [SILENCE] * 20, {}),
        ([HUM] * 12 + [SILENCE] * 20, {}),
        ([HUM] * 5 + [NOISE] * 3 + [HUM] * 6 + [SILENCE] * 20, {}),
        ([VOICE] * 5 + [SILENCE] * 20, {}),
        ([VOICE] * 12 + [SILENCE] * 20, {4: "yeah"}),
        ([VOICE] * 4 + [NOISE] * 3 + [VOICE] * 6 + [SILENCE] * 20, {5: "uh huh"}),
    ],
    ids=["cough without pitch", "hiss", "mhm", "mhm with breath", "grunt", "yeah", "uh huh"],
)
def test_what_is_no_interruption_only_ducks(sound: list[Window], words: dict[int, str]) -> None:
    decisions = [decision for _, decision in play(sound, words)]
    assert decisions == [Decision.SUSPECT, Decision.RESUME]


def test_a_voiced_cough_hushes_for_a_moment_and_loses_nothing() -> None:
    decisions = play([NOISE] * 2 + [VOICE] * 7 + [SILENCE] * 20)
    assert [decision for _, decision in decisions] == [Decision.SUSPECT, Decision.HUSH, Decision.RESUME]


def test_resumes_as_soon_as_the_final_transcript_holds_no_word() -> None:
    sound = [VOICE] * 4 + [SILENCE] * 20
    assert play(sound, final_at=10)[-1] == (10 * WINDOW_MS, Decision.RESUME)
    assert play(sound)[-1] == (4 * WINDOW_MS + CONFIG.transcript_wait_ms, Decision.RESUME)


def test_a_short_word_that_is_recognised_late_still_cuts() -> None:
    sound = [VOICE] * 4 + [SILENCE] * 20
    assert play(sound, words={10: "stop"}, final_at=10)[-1] == (10 * WINDOW_MS, Decision.CUT)


def test_a_back_channel_that_goes_on_is_an_interruption() -> None:
    assert play([VOICE] * 40, words={4: "yeah"})[-1] == (CONFIG.backchannel_ms, Decision.CUT)
    assert play([HUM] * 40)[-1] == (CONFIG.backchannel_ms, Decision.CUT)
    assert play([VOICE] * 40, words={4: "yeah", 12: "yeah but"})[-1] == (12 * WINDOW_MS, Decision.CUT)


@pytest.mark.parametrize(
    ("words", "asks"),
    [
        ("mhm", False),
        ("Uh-huh.", False),
        ("yeah okay", False),
        ("", False),
        ("yeah but", True),
        ("stop", True),
        ("no", True),
    ],
)
def test_asks_for_floor(words: str, *, asks: bool) -> None:
    assert asks_for_floor(words) is asks
