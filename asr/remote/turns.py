"""The audio of a stream as a server must hear it: turn after turn, kept until it is answered."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from asr.interface import SAMPLE_RATE_HZ, Transcript
from asr.remote.dialect import JsonObject, RealtimeDialect, TurnDone

_SAMPLE_BYTES = 2
_STEP_BYTES = SAMPLE_RATE_HZ * 80 // 1000 * _SAMPLE_BYTES  # what a step of Voxtral Realtime hears
_LARGEST_MESSAGE = 40 * _STEP_BYTES  # while catching up: 102,400 of the 262,144 bytes that Mistral takes


class FellBehind(Exception):
    """More audio waits to be sent than is kept."""


@dataclass(slots=True)
class Turn:
    """One turn, from the end of the one before to its flush."""

    start_samples: int
    end_samples: int
    pcm16: bytearray = field(default_factory=bytearray)  # since what `kept` says
    kept: str = ""  # what an earlier request of this turn said that the server ended by itself
    is_flushed: bool = False
    # on the present connection:
    sent_bytes: int = 0
    text: str = ""
    has_begun: bool = False
    is_finishing: bool = False

    @property
    def whole_text(self) -> str:
        """Everything heard of it so far."""
        return " ".join(text for text in (self.kept, self.text.strip()) if text)

    def rewind(self) -> None:
        """A new connection hears it from the start."""
        self.sent_bytes, self.text = 0, ""
        self.has_begun = self.is_finishing = False


class RemoteTurns:
    """The turns of one stream that are not answered yet. The first one is with the server, the others wait for it.

    Args:
        dialect: what the messages look like.
        backlog_s: audio of a turn that is kept; what is older, and sent, cannot be heard again.
    """

    def __init__(self, dialect: RealtimeDialect, backlog_s: float) -> None:
        self._dialect = dialect
        self._backlog_bytes = round(backlog_s * SAMPLE_RATE_HZ) * _SAMPLE_BYTES
        self._turns: deque[Turn] = deque()
        self._pushed_samples = 0

    @property
    def is_finishing(self) -> bool:
        """Whether the server owes the end of a turn."""
        return bool(self._turns) and self._turns[0].is_finishing

    @property
    def is_empty(self) -> bool:
        """Whether everything is answered."""
        return not self._turns

    def push(self, pcm16: bytes) -> None:
        """Take audio of the present turn.

        Raises:
            FellBehind: too much of it waits to be sent.
        """
        turn = self._present()
        turn.pcm16 += pcm16
        self._pushed_samples += len(pcm16) // _SAMPLE_BYTES
        turn.end_samples = self._pushed_samples
        excess = len(turn.pcm16) - self._backlog_bytes
        if excess > turn.sent_bytes:
            raise FellBehind
        if excess > 0:
            del turn.pcm16[:excess]
            turn.sent_bytes -= excess

    def flush(self) -> list[Transcript]:
        """End the present turn; the finals of turns that need no server."""
        self._present().is_flushed = True
        return self._answer_empty()

    def rewind(self) -> None:
        """A new connection: begin again with what is not answered."""
        if self._turns:
            self._turns[0].rewind()

    def next_messages(self) -> Sequence[JsonObject]:
        """What to send now; nothing if there is nothing yet. What is returned counts as sent."""
        turn = self._turns[0] if self._turns else None
        if turn is None or turn.is_finishing:
            return ()
        unsent = len(turn.pcm16) - turn.sent_bytes
        if unsent and not turn.has_begun:
            turn.has_begun = True
            if begin := self._dialect.begin():
                return begin
        size = min(unsent if turn.is_flushed else unsent - unsent % _STEP_BYTES, _LARGEST_MESSAGE)
        if size:
            audio = bytes(turn.pcm16[turn.sent_bytes : turn.sent_bytes + size])
            turn.sent_bytes += size
            return [self._dialect.audio(audio)]
        if turn.is_flushed:
            turn.is_finishing = True
            return [self._dialect.finish()]
        return ()

    def heard(self, text: str) -> Transcript | None:
        """The partial transcript that a piece of text makes."""
        if not self._turns or not text:
            return None
        turn = self._turns[0]
        turn.text += text
        return Transcript(turn.whole_text, False, turn.start_samples, turn.end_samples)

    def done(self, done: TurnDone) -> list[Transcript]:
        """The final transcripts that an end makes; none if the server ended by itself, and then it begins another."""
        if not self._turns or not self._turns[0].has_begun:
            return []
        turn = self._turns[0]
        turn.text = turn.text if done.text is None else done.text
        if turn.is_finishing:
            return self.settle()
        turn.kept = turn.whole_text
        del turn.pcm16[: turn.sent_bytes]
        turn.rewind()
        return []

    def settle(self) -> list[Transcript]:
        """The first turn's final transcript, from what was heard of it, and those of empty ones behind it."""
        turn = self._turns.popleft()
        return [_final(turn), *self._answer_empty()]

    def _present(self) -> Turn:
        if not self._turns or self._turns[-1].is_flushed:
            self._turns.append(Turn(self._pushed_samples, self._pushed_samples))
        return self._turns[-1]

    def _answer_empty(self) -> list[Transcript]:
        """HttpAnswer the turns at the front in which nothing is left to be heard."""
        finals: list[Transcript] = []
        while self._turns and self._turns[0].is_flushed and not self._turns[0].pcm16:
            finals.append(_final(self._turns.popleft()))
        return finals


def _final(turn: Turn) -> Transcript:
    return Transcript(turn.whole_text, True, turn.start_samples, turn.end_samples)
