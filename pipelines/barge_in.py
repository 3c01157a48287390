"""Is the caller's voice over the agent's a barge-in? A pure function from evidence to decision.

Two decisions, not one: *suspect* is early, cheap and reversible (playout ducks, synthesis holds); *cut* or *resume*
follows within about 300 ms of the first sound, on more evidence.
"""

from dataclasses import dataclass, replace
from enum import Enum

from pipelines.config import BargeInConfig

BACKCHANNELS = frozenset(
    "mhm mm mmm hm hmm mhmm uh huh uhhuh ah aha oh okay ok yeah yes yep right sure good nice wow really exactly "
    "oui ouais d'accord voilà ja genau stimmt sí vale claro già certo sim goed precies haan accha نعم हाँ अच्छा".split()
)
HUM_SHARE = 0.5  # of the speech, hummed: a closed mouth does not take the floor


class Decision(Enum):
    """What to do about the voice, now."""

    WAIT = "wait"
    SUSPECT = "suspect"
    CUT = "cut"
    RESUME = "resume"


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of one stretch of the caller's voice over the agent's, from its first speech window on."""

    speech_ms: int = 0
    voiced_ms: int = 0
    hum_ms: int = 0
    silence_ms: int = 0  # since the last speech window
    words: str = ""  # recognised so far
    is_transcribed: bool = False  # the words are final
    is_suspected: bool = False

    def with_window(self, *, speech_ms: int, voiced_ms: int, hum_ms: int, silence_ms: int) -> "Evidence":
        """The evidence after one more window: how much of it was what, and the silence up to its end."""
        return replace(
            self,
            speech_ms=self.speech_ms + speech_ms,
            voiced_ms=self.voiced_ms + voiced_ms,
            hum_ms=self.hum_ms + hum_ms,
            silence_ms=silence_ms,
        )


@dataclass(frozen=True, slots=True)
class Verdict:
    """A decision and the reason for it, in words for the log and the page."""

    decision: Decision
    reason: str = ""


def asks_for_floor(words: str) -> bool:
    """Whether the recognised words are more than back-channels."""
    return any(word.strip(".,!?…") not in BACKCHANNELS for word in words.lower().replace("-", " ").split())


def decide(evidence: Evidence, config: BargeInConfig) -> Verdict:
    """Judge the evidence; deterministic and without memory."""
    if not evidence.is_suspected:
        if evidence.speech_ms >= config.suspect_ms:
            return Verdict(Decision.SUSPECT, "speech")
        if evidence.silence_ms >= config.silence_ms:
            return Verdict(Decision.RESUME, "too short")
        return Verdict(Decision.WAIT)
    has_words = bool(evidence.words.strip())
    if has_words and asks_for_floor(evidence.words):
        if evidence.speech_ms >= config.word_ms or evidence.is_transcribed:
            return Verdict(Decision.CUT, "words")
    elif has_words or evidence.hum_ms >= HUM_SHARE * evidence.speech_ms:
        if evidence.speech_ms >= config.backchannel_ms:
            return Verdict(Decision.CUT, "long back-channel")
    elif evidence.speech_ms >= config.sustained_ms and evidence.voiced_ms >= config.voiced_ms:
        return Verdict(Decision.CUT, "sustained speech")
    if evidence.silence_ms >= config.silence_ms and evidence.is_transcribed:
        return Verdict(Decision.RESUME, "back-channel" if has_words else "no words")
    if evidence.silence_ms >= config.transcript_wait_ms:
        return Verdict(Decision.RESUME, "silence")
    return Verdict(Decision.WAIT)
