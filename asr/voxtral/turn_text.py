"""From tokens to the transcript of one turn: UTF-8 across token borders, words with their times. Pure."""

import codecs

from asr.interface import SAMPLE_RATE_HZ, Transcript, Word

SPOKEN_CHARACTERS_PER_S = 15  # of English read aloud; only the beginnings of words rest on it


class TurnText:
    """The text of one turn. It only ever grows: a partial is never rewritten.

    The model says when a word has ended, by when it writes the word's first token. When it began is estimated from
    its length.

    Args:
        start_samples: where the turn's audio begins.
    """

    def __init__(self, start_samples: int) -> None:
        self._start = start_samples
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        self._text = ""
        self._words: list[Word] = []  # all but the last
        self._word = ""  # the last
        self._word_end = start_samples
        self._ends_word = False

    def separate(self) -> None:
        """The next letter begins a word, also in a script that puts no spaces between words."""
        self._ends_word = True

    def add(self, piece: bytes, end_samples: int) -> bool:
        """Take the bytes of a token, the first of a word that ended there or a later one; whether the text grew."""
        grown = self._utf8.decode(piece)
        if not self._text:
            grown = grown.lstrip()
        for character in grown:
            self._add_character(character, max(end_samples, self._word_end))
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

    def transcript(self, end_samples: int, *, is_final: bool) -> Transcript:
        """What is written so far, the audio up to there being heard. Half a character is left out."""
        return Transcript(self._text, is_final, self._start, end_samples, self._all_words())
