"""The barge-in policy, in virtual time: each case is a stretch of voice over the agent's, window by window."""

from dataclasses import replace

from pipelines.turn_taking.barge_in import Evidence, decide
from pipelines.turn_taking.config import BargeInConfig, TurnTakingConfig
from pipelines.turn_taking.inputs import WINDOW_MS, Window
from pipelines.turn_taking.state import State

CONFIG = BargeInConfig()

VOICE = Window(0, is_speech=True, is_voiced=True)
HUM = replace(VOICE, is_hum=True)
NOISE = Window(0, is_speech=True)
SIBILANT = Window(0, is_sibilant=True)
SILENCE = Window(0)

AFTER = {"duck": State.DUCKED, "mute": State.MUTED}


def play(
    windows: list[Window], words: dict[int, str] | None = None, config: BargeInConfig = CONFIG
) -> list[tuple[int, str]]:
    """Decisions with their times in ms, until one ends it; final words come at a window's number."""
    evidence, state = Evidence(), State.SPEAKING
    decisions: list[tuple[int, str]] = []
    for number, window in enumerate(windows, start=1):
        evidence = evidence.with_window(window)
        evidence = replace(evidence, words=(words or {}).get(number, evidence.words))
        decision = decide(evidence, state, config)
        if decision is None:
            continue
        assert decision.after_ms == number * WINDOW_MS
        decisions.append((number * WINDOW_MS, decision.type))
        if decision.type not in AFTER:
            break
        state = AFTER[decision.type]
    return decisions


def names(windows: list[Window], words: dict[int, str] | None = None) -> list[str]:
    return [name for _, name in play(windows, words)]


def test_a_lasting_voice_ducks_mutes_and_cuts_within_the_budget() -> None:
    assert play([VOICE] * 20) == [(32, "duck"), (192, "mute"), (608, "cut")]


def test_a_sibilant_at_the_start_of_a_word_counts() -> None:
    """ "Stop" begins with 120 ms that voice detection does not hear."""
    assert play([SIBILANT] * 4 + [VOICE] * 8)[:2] == [(64, "duck"), (192, "mute")]


def test_one_window_of_noise_only_ducks_for_a_moment() -> None:
    assert play([VOICE] + [SILENCE] * 10) == [(32, "duck"), (192, "resume")]


def test_the_click_of_a_key_is_not_even_noticed() -> None:
    assert play([SIBILANT] + [SILENCE] * 10) == [(192, "resume")]


def test_a_word_that_asks_for_the_floor_cuts() -> None:
    decisions = play([VOICE] * 11 + [SILENCE] * 20, words={18: "stop"})
    assert decisions == [(32, "duck"), (192, "mute"), (18 * WINDOW_MS, "cut")]


def test_what_is_no_interruption_only_ducks() -> None:
    for sound, words in (
        ([NOISE] * 12 + [SILENCE] * 20, {}),  # a cough without pitch
        ([SIBILANT] * 18 + [SILENCE] * 20, {}),  # hiss
        ([HUM] * 12 + [SILENCE] * 20, {19: "who are you"}),  # "mhm": a recognizer hears words in everything
        ([HUM] * 5 + [NOISE] * 3 + [HUM] * 6 + [SILENCE] * 20, {}),  # "mhm" with a breath
        ([VOICE] * 5 + [SILENCE] * 20, {12: "half"}),  # a grunt
    ):
        assert names(sound, words) == ["duck", "resume"], (sound, words)


def test_what_sounds_like_a_word_mutes_for_a_moment_and_loses_nothing() -> None:
    for sound, words in (
        ([NOISE] * 2 + [VOICE] * 6 + [SILENCE] * 20, {15: "half"}),  # a voiced cough
        ([VOICE] * 13 + [SILENCE] * 20, {20: "what are you"}),  # three words in 0.4 s
        ([VOICE] * 12 + [SILENCE] * 20, {19: "yeah"}),
        ([VOICE] * 4 + [NOISE] * 3 + [VOICE] * 6 + [SILENCE] * 20, {20: "uh huh"}),
        ([VOICE] * 12 + [SILENCE] * 20, {}),  # no transcript
    ):
        assert names(sound, words) == ["duck", "mute", "resume"], (sound, words)


def test_resumes_as_soon_as_the_final_transcript_holds_no_word() -> None:
    sound = [VOICE] * 4 + [SILENCE] * 20
    assert play(sound, words={11: ""})[-1] == (11 * WINDOW_MS, "resume")
    assert play(sound)[-1] == (4 * WINDOW_MS + CONFIG.transcript_wait_ms, "resume")


def test_humming_on_is_an_interruption() -> None:
    assert play([HUM] * 40)[-1] == (CONFIG.backchannel_ms, "cut")


def test_presets_differ_in_patience_alone() -> None:
    """Each decides the same, eager first and patient last."""
    taken: list[list[tuple[int, str]]] = []
    for preset in ("eager", "balanced", "patient"):
        config = TurnTakingConfig.model_validate({"preset": preset}).barge_in
        taken.append(play([VOICE] * 40, config=config))
    assert [[name for _, name in decisions] for decisions in taken] == [["duck", "mute", "cut"]] * 3
    times = [[at_ms for at_ms, _ in decisions] for decisions in taken]
    assert sorted(times) == times
    assert times[0] != times[1] != times[2]


def test_a_single_value_may_be_set_beside_a_preset() -> None:
    patient = TurnTakingConfig.model_validate({"preset": "patient"})
    own = TurnTakingConfig.model_validate({"preset": "patient", "barge_in": {"mute_ms": 96}})
    assert own.barge_in.mute_ms == 96
    assert own.barge_in.model_copy(update={"mute_ms": patient.barge_in.mute_ms}) == patient.barge_in
    assert TurnTakingConfig(preset="patient", barge_in=BargeInConfig(mute_ms=96)) == own
    assert TurnTakingConfig() == TurnTakingConfig(preset="balanced")
