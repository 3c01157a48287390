"""Has the caller finished? Pure functions from a pause to a decision.

Silence alone does not end a turn: what was said, how it was said and this caller's own habit set how long a silence
must be.
"""

from dataclasses import dataclass

from pipelines.turn_taking.config import EndpointingConfig

# Words that nobody ends a sentence with; a turn that stops on one has not stopped.
UNFINISHED = frozenset(
    "a an the and but or so because if when while that which who of to for from with at by in into about than as "
    "my your his her our their this these is are was were am will would can could should um uh er "
    "et mais ou de le la les un une und aber oder der die das ein eine zu mit y pero el los con que e ma o il di "
    "en maar of het een van".split()
)

PAUSE_MEMORY = 0.7  # weight of the past in the running average of mid-turn pauses


@dataclass(slots=True)
class CallerTurn:
    """What the caller has said in the turn that is going on."""

    said: str = ""  # final words
    saying: str = ""  # words that may still change

    @property
    def words(self) -> str:
        """Everything, as far as it is known."""
        return f"{self.said} {self.saying}".strip()

    def hear(self, words: str, *, is_final: bool) -> None:
        """Take the recogniser's next word."""
        if is_final:
            self.said, self.saying = f"{self.said} {words}".strip(), ""
        else:
            self.saying = words


@dataclass(frozen=True, slots=True)
class Pause:
    """The silence after the caller's last speech window, and what is known about what went before."""

    silence_ms: int
    words: str  # of the whole turn so far
    is_transcribed: bool  # the words are final
    sounds_complete: bool | None = None  # Smart Turn's opinion, None where not asked or not yet answered
    usual_pause_ms: float = 0.0  # this caller's average pause in mid-turn


def is_unfinished(words: str) -> bool:
    """Whether the words stop in mid-thought."""
    last = words.lower().split()[-1].strip("…-") if words.split() else ""
    return last in UNFINISHED


def required_silence_ms(pause: Pause, config: EndpointingConfig) -> float:
    """The silence that ends this turn."""
    if not pause.words.strip():
        return config.wordless_ms if pause.is_transcribed else config.transcript_wait_ms
    if not pause.is_transcribed:
        return config.transcript_wait_ms
    if is_unfinished(pause.words):
        return config.incomplete_ms
    base = config.complete_ms if pause.sounds_complete else config.likely_ms
    return max(base, min(config.adaptation * pause.usual_pause_ms, config.incomplete_ms))


def may_be_over(pause: Pause) -> bool:
    """Whether a reply is worth drafting: the words are known and make a whole thought."""
    return pause.is_transcribed and bool(pause.words.strip()) and not is_unfinished(pause.words)


def is_turn_over(pause: Pause, config: EndpointingConfig) -> bool:
    """Whether the caller has finished."""
    return pause.silence_ms >= required_silence_ms(pause, config)


@dataclass(frozen=True, slots=True)
class PauseHabit:
    """A caller's usual pause in mid-turn, learnt from the pauses that did not end a turn."""

    usual_ms: float = 0.0

    def after(self, pause_ms: float) -> "PauseHabit":
        """The habit after one more mid-turn pause."""
        if not self.usual_ms:
            return PauseHabit(pause_ms)
        return PauseHabit(PAUSE_MEMORY * self.usual_ms + (1 - PAUSE_MEMORY) * pause_ms)
