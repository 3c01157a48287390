"""Cuts streamed text into clauses to speak: the first as early as a natural break allows, later ones longer."""

import re

# A break is punctuation followed by white space, so "3.14", "1,000" and "a.m" hold together.
_BREAK = re.compile(r"[.!?…:;,—–]+[\"'”’)\]]*(?=\s)|\n+|[。！？،؟।]")
_SENTENCE_END = re.compile(r"[.!?…。！？؟।\n]")
_ABBREVIATION = re.compile(r"(?:^|\s)(?:[A-Z]|Mr|Mrs|Ms|Dr|St|Prof|vs|etc|No|e\.g|i\.e|z\.B|bzw|M|Mme)\.$")

FIRST_CLAUSE_CHARS = 2  # "Oh," may open a reply; a lone dash may not

# While a slow model has not reached any punctuation yet, the first clause also ends before a word that opens a phrase.
_PHRASE = re.compile(
    r"\s(?=(?:but|because|if|when|while|which|that|who|for|with|from|in|on|at|by|to|into|about|after|before|"
    r"mais|parce|pour|avec|dans|sur|aber|weil|für|mit|auf|pero|porque|para|con|"
    r"ma|perché|per|nel|mas|com|em|maar|omdat|voor|met|op)\s)",
    re.IGNORECASE,
)
FIRST_PHRASE_WORDS = 3


class ClauseSplitter:
    """Splits one reply. Feed it deltas of any size; the clauses joined are the text."""

    def __init__(self, clause_chars: int) -> None:
        """`clause_chars` is the shortest clause after the first; the end of a sentence always breaks."""
        self._clause_chars = clause_chars
        self._is_first = True
        self._text = ""

    def feed(self, delta: str) -> list[str]:
        """The clauses that this delta completes."""
        self._text += delta
        clauses: list[str] = []
        while (end := self._break()) is not None:
            clauses.append(self._text[:end])
            self._text = self._text[end:]
            self._is_first = False
        return clauses

    def close(self) -> str:
        """What is left at the end of the reply."""
        rest, self._text = self._text, ""
        self._is_first = True
        return rest

    def _break(self) -> int | None:
        """Where the next clause ends, None if that is not known yet."""
        for match in _BREAK.finditer(self._text):
            clause = self._text[: match.end()]
            if _ABBREVIATION.search(clause):
                continue
            ends_sentence = _SENTENCE_END.search(match[0]) is not None
            shortest = FIRST_CLAUSE_CHARS if self._is_first or ends_sentence else self._clause_chars
            if sum(map(str.isalnum, clause)) >= shortest:
                return match.end()
        return self._phrase() if self._is_first else None

    def _phrase(self) -> int | None:
        """Where the opening phrase ends."""
        ends = (match.start() for match in _PHRASE.finditer(self._text))
        return next((end for end in ends if len(self._text[:end].split()) >= FIRST_PHRASE_WORDS), None)
