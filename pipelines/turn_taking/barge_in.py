"""Is the caller's voice over the agent's a barge-in? A pure function from evidence to action.

It goes in steps, each reversible until the last. *Duck* is early and cheap: playout is lowered, synthesis holds.
*Mute* falls silent within about 300 ms of the first sound, before any word can be known; nothing is thrown away yet.
*Cut* gives the floor to the caller, once the voice has lasted or its words ask for it. *Resume* takes it all back:
after a cough or an "mhm" the agent goes on where it was, to the sample.

Only final words count. A recognizer's first guess at 300 ms of sound is a guess, and since muting costs nothing there
is no need to act on it.
"""

from dataclasses import dataclass, replace

from pipelines.turn_taking.actions import Cut, Decision, Duck, Mute, Resume
from pipelines.turn_taking.config import BargeInConfig
from pipelines.turn_taking.inputs import WINDOW_MS, Window
from pipelines.turn_taking.lexicon import asks_for_floor
from pipelines.turn_taking.state import State

HUM_SHARE = 0.6  # of the voiced sound, hummed: a closed mouth does not take the floor
FASTEST_WORDS_PER_S = 6.0  # people speak no faster; recognizers hear words in a hum


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of one stretch of the caller's voice over the agent's, from its first sound on."""

    age_ms: int = 0
    sound_ms: int = 0  # speech, and sibilants that voice detection does not know
    speech_ms: int = 0
    voiced_ms: int = 0
    hum_ms: int = 0
    silence_ms: int = 0  # since the last sound
    words: str | None = None  # final; None until they are known

    @property
    def is_hum(self) -> bool:
        """Whether the mouth stayed closed."""
        return 0 < self.voiced_ms * HUM_SHARE <= self.hum_ms

    @property
    def is_too_fast(self) -> bool:
        """Whether these are more words than can be said in that time."""
        return len((self.words or "").split()) * 1000 > FASTEST_WORDS_PER_S * self.sound_ms

    def with_window(self, window: Window) -> "Evidence":
        """The evidence after one more window."""
        return replace(
            self,
            age_ms=self.age_ms + WINDOW_MS,
            sound_ms=self.sound_ms + WINDOW_MS * window.is_sound,
            speech_ms=self.speech_ms + WINDOW_MS * window.is_speech,
            voiced_ms=self.voiced_ms + WINDOW_MS * window.is_voiced,
            hum_ms=self.hum_ms + WINDOW_MS * window.is_hum,
            silence_ms=0 if window.is_sound else self.silence_ms + WINDOW_MS,
        )


def decide(evidence: Evidence, state: State, config: BargeInConfig) -> Decision | None:
    """What to do now, if anything, given what has been done so far; deterministic and without memory."""
    after_ms = evidence.age_ms
    is_noticed = state in (State.DUCKED, State.MUTED)
    if not is_noticed and (evidence.speech_ms >= config.suspect_ms or evidence.sound_ms >= config.hiss_ms):
        return Duck("sound", after_ms)
    if evidence.sound_ms <= config.blip_ms and evidence.silence_ms >= config.silence_ms:
        return Resume("too short", after_ms)
    if not is_noticed:
        return None
    if evidence.sound_ms >= (config.backchannel_ms if evidence.is_hum else config.sustained_ms):
        return Cut("lasting voice", after_ms)
    if evidence.words is not None:
        is_speech = evidence.sound_ms >= config.word_ms and not evidence.is_hum and not evidence.is_too_fast
        if is_speech and asks_for_floor(evidence.words):
            return Cut("words", after_ms)
        return Resume("no word asks for the floor", after_ms)
    if evidence.silence_ms >= config.transcript_wait_ms:
        return Resume("silence", after_ms)
    is_voice = evidence.voiced_ms >= config.voiced_ms and not evidence.is_hum
    if is_voice and evidence.sound_ms >= config.mute_ms and state is not State.MUTED:
        return Mute("voice", after_ms)
    return None
