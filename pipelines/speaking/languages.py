"""Which language a text is in, among the few that a call is held in: by the small words that make up half of it.

The language model answers in the caller's language, and speech follows the reply: no more is needed for a call to
change its language in the middle. A language model of the text would know more, and cost more than a clause is worth.
"""

import re
from collections.abc import Mapping, Sequence

# Frequent words that few of the other languages share.
SMALL_WORDS: Mapping[str, frozenset[str]] = {
    language: frozenset(words.split())
    for language, words in {
        "en": "the and is are was you your i it of to that this what how have with for not can will hello yes please "
        "thanks thank good my we they would do does an at be",
        "fr": "le les des et est une un vous je il elle que qui dans pour pas avec sur bonjour oui non merci mon votre "
        "nous sont au aux ce cette quoi plaît très bien à",
        "es": "el los las y es una un usted que en por para con no hola sí gracias mi su está son muy bien como qué "
        "cómo pero más del al buenos",
        "de": "der die das und ist ein eine sie ich nicht mit für auf zu den von wie was haben hallo ja nein danke "
        "bitte mein ihr wir sind sehr gut guten im es",
        "it": "il lo gli e è una un che di per non con sono ciao sì grazie mio suo come cosa molto bene prego questo "
        "della nel buongiorno ma anche",
        "pt": "o os as e é uma um que em por para com não olá sim obrigado obrigada meu seu está são muito bem como "
        "mas mais do da no na você",
        "nl": "de het een en is van ik je u niet met voor op te dat hoe wat heb hallo ja nee dank alstublieft mijn uw "
        "wij zijn zeer goed goede maar ook",
    }.items()
}
SCRIPTS: Mapping[str, re.Pattern[str]] = {"ar": re.compile(r"[\u0600-\u06ff]+"), "hi": re.compile(r"[\u0900-\u097f]+")}

_WORD = re.compile(r"[^\W\d_]+")


class SpokenLanguage:
    """The language of one call, as it goes from clause to clause."""

    def __init__(self, languages: Sequence[str]) -> None:
        """Takes BCP 47 tags, the one to begin with first."""
        self._languages = tuple(dict.fromkeys(languages))
        self._current = self._languages[0]

    def of(self, text: str) -> str:
        """The language of this clause; the one before, unless the clause clearly is in another."""
        if len(self._languages) > 1:
            evidence = {language: _evidence(text, language) for language in self._languages}
            likeliest = max(self._languages, key=lambda language: evidence[language])
            if evidence[likeliest] > evidence[self._current]:
                self._current = likeliest
        return self._current


def language_instruction(languages: Sequence[str]) -> str:
    """The sentence of the system prompt that asks for the caller's language; empty if there is but one."""
    if len(languages) < 2:
        return ""
    return f"Answer in the language that the caller speaks, one of {', '.join(languages)}."


def _evidence(text: str, language: str) -> int:
    """How many words of the text belong to the language for certain, or nearly so."""
    name = language.partition("-")[0].lower()
    if script := SCRIPTS.get(name):
        return len(script.findall(text))
    small = SMALL_WORDS.get(name, frozenset())
    return sum(word in small for word in _WORD.findall(text.lower()))
