"""Has the caller finished? Pure functions from a silence to a decision.

Silence alone does not end a turn: what was said, how it was said and this caller's own habit set how long a silence
must be.
"""

from dataclasses import dataclass

from pipelines.turn_taking.config import EndpointingConfig
from pipelines.turn_taking.lexicon import is_unfinished

PAUSE_MEMORY = 0.7  # weight of the past in the running average of mid-turn pauses


@dataclass(frozen=True, slots=True)
class Silence:
    """The silence after the caller's last speech window, and what is known about what went before."""

    silence_ms: int
    words: str  # of the whole turn so far
    is_transcribed: bool  # the words are final
    sounds_complete: bool | None = None  # the turn model's opinion, None where not asked or not yet answered
    usual_pause_ms: float = 0.0  # this caller's average pause in mid-turn


def required_silence_ms(silence: Silence, config: EndpointingConfig) -> float:
    """The silence that ends this turn."""
    if not silence.is_transcribed:
        return config.transcript_wait_ms
    if not silence.words.strip():
        return config.wordless_ms
    if is_unfinished(silence.words):
        return config.incomplete_ms
    base = config.complete_ms if silence.sounds_complete else config.likely_ms
    return max(base, min(config.adaptation * silence.usual_pause_ms, config.incomplete_ms))


def may_be_over(silence: Silence) -> bool:
    """Whether a reply is worth drafting: the words are known and make a whole thought."""
    return silence.is_transcribed and bool(silence.words.strip()) and not is_unfinished(silence.words)


def is_turn_over(silence: Silence, config: EndpointingConfig) -> bool:
    """Whether the caller has finished."""
    return silence.silence_ms >= required_silence_ms(silence, config)


@dataclass(frozen=True, slots=True)
class PauseHabit:
    """A caller's usual pause in mid-turn, learned from the pauses that did not end a turn."""

    usual_ms: float = 0.0

    def after(self, pause_ms: float) -> "PauseHabit":
        """The habit after one more mid-turn pause."""
        if not self.usual_ms:
            return PauseHabit(pause_ms)
        return PauseHabit(PAUSE_MEMORY * self.usual_ms + (1 - PAUSE_MEMORY) * pause_ms)
