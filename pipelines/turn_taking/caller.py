"""What is known of the caller's voice: whether it speaks or pauses, how long, and which transcripts are still due."""

from dataclasses import dataclass, field

from pipelines.turn_taking.endpointing import PauseHabit, Silence
from pipelines.turn_taking.inputs import WINDOW_MS, Window


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
        """Take the recognizer's next word."""
        if is_final:
            self.said, self.saying = f"{self.said} {words}".strip(), ""
        else:
            self.saying = words

    def continues(self, words: str) -> None:
        """These words were said before."""
        self.said = f"{words} {self.said}".strip()


@dataclass(slots=True)
class CallerState:
    """The voice of one caller, window by window."""

    now_ms: int = 0
    is_paused: bool = True  # since voice detection's last edge
    speech_ms: int = 0  # since the last onset
    last_speech_ms: int = 0  # the end of the last speech window
    last_gap_ms: int = 0  # without speech before the latest stretch of it
    sounds_complete: bool | None = None  # the turn model's opinion of the last pause
    is_asking: bool = False  # the turn model
    habit: PauseHabit = field(default_factory=PauseHabit)
    due: int = 0  # flushes whose final words are still to come
    ignored: int = 0  # of those, finals that are of no interest any more

    def window(self, window: Window) -> None:
        """Take the next window."""
        self.now_ms = window.at_ms
        if window.is_speech:
            gap_ms = window.at_ms - WINDOW_MS - self.last_speech_ms
            self.last_gap_ms = gap_ms or self.last_gap_ms
            self.speech_ms += WINDOW_MS
            self.last_speech_ms = window.at_ms

    def onset(self, onset_ms: int, *, is_in_turn: bool) -> None:
        """The voice began, `onset_ms` ago; a pause inside a turn is a habit of this caller's."""
        if self.is_paused and is_in_turn:
            self.habit = self.habit.after(self.last_gap_ms)
        self.is_paused = False
        self.speech_ms = onset_ms
        self.sounds_complete = None

    def pause(self) -> None:
        """The voice pauses, and the recognizer has been flushed."""
        self.is_paused = True
        self.due += 1

    def take_transcript(self, *, is_final: bool) -> bool:
        """Count a transcript, and tell whether it belongs to what is being judged."""
        self.due = max(0, self.due - is_final)
        is_wanted = self.ignored == 0
        self.ignored = max(0, self.ignored - is_final)
        return is_wanted

    def ignore_due(self) -> None:
        """The transcripts that are still to come are of no interest any more."""
        self.ignored = self.due

    @property
    def silence_ms(self) -> int:
        """How long ago the caller was last heard to speak."""
        return self.now_ms - self.last_speech_ms

    def silence(self, words: str) -> Silence:
        """The silence as it is now, after these words."""
        return Silence(
            silence_ms=self.silence_ms,
            words=words,
            is_transcribed=self.due == 0,
            sounds_complete=self.sounds_complete,
            usual_pause_ms=self.habit.usual_ms,
        )
