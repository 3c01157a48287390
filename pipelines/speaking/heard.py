"""What the caller has heard of the agent's words, by playout position. Positions count speech samples handed out."""

import re
from bisect import bisect_right

_WORD = re.compile(r"\s*\S+\s*")


class HeardLedger:
    """Maps playout positions to words, exact at the borders that the synthesizer knows, linear in characters between.

    A word counts as heard once half of it has been played.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget everything, heard or not."""
        self._text = ""
        self._next_char = 0  # where the first word that has not been heard begins
        self._positions: list[int] = []  # ascending; at _positions[i] the first _chars[i] characters have been spoken
        self._chars: list[int] = []

    def add(self, text: str, start_samples: int, end_samples: int) -> None:
        """Note that the samples from start to end complete `text`; empty text is a part of the next one."""
        if not self._positions:
            self._positions.append(start_samples)
            self._chars.append(0)
        if text:
            self._text += text
            self._positions.append(end_samples)
            self._chars.append(len(self._text))

    def take(self, position_samples: int) -> list[str]:
        """The words heard since the last call, each with the white space around it."""
        heard_chars = self._chars_at(position_samples)
        words: list[str] = []
        while word := _WORD.match(self._text, self._next_char):
            is_growing = word.end() == len(self._text) and not word[0][-1].isspace() and heard_chars < word.end()
            if is_growing or heard_chars < (word.start() + word.end()) / 2:
                break
            words.append(word[0])
            self._next_char = word.end()
        return words

    @property
    def has_more(self) -> bool:
        """Whether words are still to be heard."""
        return self._next_char < len(self._text)

    def _chars_at(self, position_samples: int) -> float:
        """How many characters have been spoken at a position."""
        after = bisect_right(self._positions, position_samples)
        if after == 0:
            return 0.0
        if after == len(self._positions):
            return float(self._chars[-1])
        start, end = self._positions[after - 1], self._positions[after]
        share = (position_samples - start) / (end - start)
        return self._chars[after - 1] + share * (self._chars[after] - self._chars[after - 1])
