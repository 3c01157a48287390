"""The barge-in policy, in virtual time: each case is a stretch of voice over the agent's, window by window."""

from dataclasses import asdict, dataclass, replace

import pytest

from pipelines.turn_taking.barge_in import Decision, Evidence, asks_for_floor, decide
from pipelines.turn_taking.config import BargeInConfig

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


def play(windows: list[Window], words: dict[int, str] | None = None) -> list[tuple[int, Decision]]:
    """Decisions with their times in ms, until one ends it; final words come at a window's number."""
    evidence = Evidence()
    decisions: list[tuple[int, Decision]] = []
    for number, window in enumerate(windows, start=1):
        evidence = replace(
            evidence.with_window(WINDOW_MS, **asdict(window)), words=(words or {}).get(number, evidence.words)
        )
        decision = decide(evidence, CONFIG).decision
        if decision is Decision.WAIT:
            continue
        decisions.append((number * WINDOW_MS, decision))
        if decision not in REVERSIBLE:
            break
        evidence = replace(evidence, stage=decision)
    return decisions


def test_a_lasting_voice_ducks_hushes_and_cuts_within_the_budget() -> None:
    assert play([VOICE] * 20) == [(32, Decision.SUSPECT), (192, Decision.HUSH), (608, Decision.CUT)]


def test_a_sibilant_at_the_start_of_a_word_counts() -> None:
    """ "Stop" begins with 120 ms that voice detection does not hear."""
    assert play([SIBILANT] * 4 + [VOICE] * 8)[:2] == [(64, Decision.SUSPECT), (192, Decision.HUSH)]


def test_one_window_of_noise_only_ducks_for_a_moment() -> None:
    assert play([VOICE] + [SILENCE] * 10) == [(32, Decision.SUSPECT), (192, Decision.RESUME)]


def test_the_click_of_a_key_is_not_even_noticed() -> None:
    assert play([SIBILANT] + [SILENCE] * 10) == [(192, Decision.RESUME)]


def test_a_word_that_asks_for_the_floor_cuts() -> None:
    decisions = play([VOICE] * 11 + [SILENCE] * 20, words={18: "stop"})
    assert decisions == [(32, Decision.SUSPECT), (192, Decision.HUSH), (18 * WINDOW_MS, Decision.CUT)]


@pytest.mark.parametrize(
    ("sound", "words"),
    [
        ([NOISE] * 12 + [SILENCE] * 20, {}),
        ([SIBILANT] * 18 + [SILENCE] * 20, {}),
        ([HUM] * 12 + [SILENCE] * 20, {19: "who are you"}),  # a recogniser hears words in everything
        ([HUM] * 5 + [NOISE] * 3 + [HUM] * 6 + [SILENCE] * 20, {}),
        ([VOICE] * 5 + [SILENCE] * 20, {12: "half"}),
    ],
    ids=["cough without pitch", "hiss", "mhm", "mhm with breath", "grunt"],
)
def test_what_is_no_interruption_only_ducks(sound: list[Window], words: dict[int, str]) -> None:
    decisions = [decision for _, decision in play(sound, words)]
    assert decisions == [Decision.SUSPECT, Decision.RESUME]


@pytest.mark.parametrize(
    ("sound", "words"),
    [
        ([NOISE] * 2 + [VOICE] * 6 + [SILENCE] * 20, {15: "half"}),
        ([VOICE] * 13 + [SILENCE] * 20, {20: "what are you"}),
        ([VOICE] * 12 + [SILENCE] * 20, {19: "yeah"}),
        ([VOICE] * 4 + [NOISE] * 3 + [VOICE] * 6 + [SILENCE] * 20, {20: "uh huh"}),
        ([VOICE] * 12 + [SILENCE] * 20, {}),
    ],
    ids=["voiced cough", "three words in 0.4 s", "yeah", "uh huh", "no transcript"],
)
def test_what_sounds_like_a_word_hushes_for_a_moment_and_loses_nothing(
    sound: list[Window], words: dict[int, str]
) -> None:
    decisions = [decision for _, decision in play(sound, words)]
    assert decisions == [Decision.SUSPECT, Decision.HUSH, Decision.RESUME]


def test_resumes_as_soon_as_the_final_transcript_holds_no_word() -> None:
    sound = [VOICE] * 4 + [SILENCE] * 20
    assert play(sound, words={11: ""})[-1] == (11 * WINDOW_MS, Decision.RESUME)
    assert play(sound)[-1] == (4 * WINDOW_MS + CONFIG.transcript_wait_ms, Decision.RESUME)


def test_humming_on_is_an_interruption() -> None:
    assert play([HUM] * 40)[-1] == (CONFIG.backchannel_ms, Decision.CUT)


@pytest.mark.parametrize(
    ("words", "asks"),
    [
        ("mhm", False),
        ("Uh-huh.", False),
        ("…", False),
        ("… stop", True),
        ("yeah okay", False),
        ("", False),
        ("could you", False),
        ("could you stop", True),
        ("yeah but", True),
        ("stop", True),
        ("no", True),
    ],
)
def test_asks_for_floor(words: str, *, asks: bool) -> None:
    assert asks_for_floor(words) is asks
