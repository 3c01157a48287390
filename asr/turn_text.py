"""From tokens to the transcript of one turn: UTF-8 across token borders, words with their times. Pure."""

import codecs

from asr.interface import SAMPLE_RATE_HZ, Transcript, Word

SPOKEN_CHARACTERS_PER_S = 15  # of English read aloud; only the beginnings of words rest on it


class TurnText:
    """The text of one turn. It only ever grows: a partial is never rewritten.

    The model says when a word has ended, by when it writes it: a word's first token comes one step and the delay
    after its end, about 0.1 s early or late. When it began is estimated from its length.

    Args:
        start_samples: where the turn's audio begins.
        lag_samples: from the end of a word to the beginning of the 80 ms whose step writes its first token.
    """

    def __init__(self, start_samples: int, lag_samples: int) -> None:
        self._start = start_samples
        self._lag = lag_samples
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        self._text = ""
        self._words: list[Word] = []  # all but the last
        self._word = ""  # the last
        self._word_end = start_samples
        self._ends_word = False

    def separate(self) -> None:
        """The next letter begins a word, also in a script that puts no spaces between words."""
        self._ends_word = True

    def add(self, piece: bytes, at_samples: int) -> bool:
        """Take the bytes of a token, written by the step whose 80 ms begin there; whether the text has grown."""
        grown = self._utf8.decode(piece)
        if not self._text:
            grown = grown.lstrip()
        for character in grown:
            self._add_character(character, max(at_samples - self._lag, self._word_end))
        self._text += grown
        return bool(grown)

    def _add_character(self, character: str, end: int) -> None:
        if character.isspace() or (self._ends_word and character.isalnum()):
            self._end_word()
        if character.isspace():
            return
        if not self._word:
            self._word_end = end
        self._ends_word = False
        self._word += character

    def _end_word(self) -> None:
        if self._word:
            self._words.append(self._last_word())
            self._word = ""

    def _last_word(self) -> Word:
        previous = self._words[-1].end_samples if self._words else self._start
        spoken = len(self._word) * SAMPLE_RATE_HZ // SPOKEN_CHARACTERS_PER_S
        start = min(max(previous, self._word_end - spoken), self._word_end)
        return Word(self._word, start, self._word_end)

    def _all_words(self) -> tuple[Word, ...]:
        return (*self._words, self._last_word()) if self._word else tuple(self._words)

    def partial(self, end_samples: int) -> Transcript:
        """What is written so far, of a turn whose audio up to there is heard."""
        return Transcript(self._text, False, self._start, end_samples, self._all_words())

    def final(self, end_samples: int) -> Transcript:
        """All of the turn, whose audio ends there. Bytes that never became a character are left out."""
        words = tuple(self._inside(word, end_samples) for word in self._all_words())
        return Transcript(self._text, True, self._start, end_samples, words)

    def _inside(self, word: Word, end_samples: int) -> Word:
        """The word, moved back if it seems to end after the turn's audio."""
        late = max(0, word.end_samples - end_samples)
        return Word(word.text, max(self._start, word.start_samples - late), word.end_samples - late)
