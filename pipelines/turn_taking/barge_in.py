"""Is the caller's voice over the agent's a barge-in? A pure function from evidence to decision.

Decisions come in steps, each reversible until the last. *Suspect* is early and cheap: playout ducks, synthesis holds.
*Hush* falls silent within about 300 ms of the first sound, before any word can be known; nothing is thrown away yet.
*Cut* gives the floor to the caller, once the voice has lasted or its words ask for it. *Resume* takes it all back:
after a cough or an "mhm" the agent goes on where it was, to the sample.

Only final words count. A recogniser's first guess at 300 ms of sound is a guess, and since a hush costs nothing there
is no need to act on it.
"""

from dataclasses import dataclass, replace
from enum import Enum

from pipelines.turn_taking.config import BargeInConfig

BACKCHANNELS = frozenset(
    "mhm mm mmm hm hmm mhmm uh huh uhhuh ah aha oh okay ok yeah yes yep right sure good nice wow really exactly "
    "cool great "
    "oui ouais d'accord voilà ja genau stimmt sí vale claro già certo sim goed precies haan accha نعم हाँ अच्छा".split()
)
# Words that ask for nothing unless others stand beside them: what a recogniser makes of half a breath.
PARTICLES = frozenset("a an and are at can could do for in is it of on that the then to would you".split())
HUM_SHARE = 0.6  # of the voiced sound, hummed: a closed mouth does not take the floor
FASTEST_WORDS_PER_S = 6.0  # what was said faster was not said: recognisers hear words in a hum


class Decision(Enum):
    """What to do about the voice, now."""

    WAIT = "wait"
    SUSPECT = "suspect"
    HUSH = "hush"
    CUT = "cut"
    RESUME = "resume"


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of one stretch of the caller's voice over the agent's, from its first sound on."""

    sound_ms: int = 0  # speech, and sibilants that voice detection does not know
    speech_ms: int = 0
    voiced_ms: int = 0
    hum_ms: int = 0
    silence_ms: int = 0  # since the last sound
    words: str | None = None  # final; None until they are known
    stage: Decision = Decision.WAIT  # what has been decided so far: WAIT, SUSPECT or HUSH

    @property
    def is_hum(self) -> bool:
        """Whether the mouth stayed closed."""
        return 0 < self.voiced_ms * HUM_SHARE <= self.hum_ms

    def with_window(
        self, window_ms: int, *, is_speech: bool, is_sibilant: bool, is_voiced: bool, is_hum: bool
    ) -> "Evidence":
        """The evidence after one more window."""
        is_sound = is_speech or is_sibilant
        return replace(
            self,
            sound_ms=self.sound_ms + window_ms * is_sound,
            speech_ms=self.speech_ms + window_ms * is_speech,
            voiced_ms=self.voiced_ms + window_ms * is_voiced,
            hum_ms=self.hum_ms + window_ms * is_hum,
            silence_ms=0 if is_sound else self.silence_ms + window_ms,
        )


@dataclass(frozen=True, slots=True)
class Verdict:
    """A decision and the reason for it, in words for the log and the page."""

    decision: Decision
    reason: str = ""


WAIT = Verdict(Decision.WAIT)


def asks_for_floor(words: str) -> bool:
    """Whether the recognised words are more than back-channels and particles; "…" is what was not understood."""
    plain = (word.strip(".,!?…") for word in words.lower().replace("-", " ").split())
    return any(word and word not in BACKCHANNELS | PARTICLES for word in plain)


def is_too_fast(evidence: Evidence) -> bool:
    """Whether nobody says that many words in that time."""
    return len((evidence.words or "").split()) * 1000 > FASTEST_WORDS_PER_S * evidence.sound_ms


def decide(evidence: Evidence, config: BargeInConfig) -> Verdict:
    """Judge the evidence; deterministic and without memory."""
    is_noticed = evidence.stage is not Decision.WAIT
    if not is_noticed and (evidence.speech_ms >= config.suspect_ms or evidence.sound_ms >= config.hiss_ms):
        return Verdict(Decision.SUSPECT, "sound")
    if evidence.sound_ms <= config.blip_ms and evidence.silence_ms >= config.silence_ms:
        return Verdict(Decision.RESUME, "too short")
    if not is_noticed:
        return WAIT
    if evidence.sound_ms >= (config.backchannel_ms if evidence.is_hum else config.sustained_ms):
        return Verdict(Decision.CUT, "lasting voice")
    if evidence.words is not None:
        is_speech = evidence.sound_ms >= config.word_ms and not evidence.is_hum and not is_too_fast(evidence)
        is_asking = is_speech and asks_for_floor(evidence.words)
        return Verdict(Decision.CUT, "words") if is_asking else Verdict(Decision.RESUME, "no word asks for the floor")
    if evidence.silence_ms >= config.transcript_wait_ms:
        return Verdict(Decision.RESUME, "silence")
    is_voice = evidence.voiced_ms >= config.voiced_ms and not evidence.is_hum
    if is_voice and evidence.sound_ms >= config.mute_ms and evidence.stage is not Decision.HUSH:
        return Verdict(Decision.HUSH, "voice")
    return WAIT
