"""A call that changes its language: which one a clause is in, and the voice that speaks it."""

from typing import Any

import pytest

from llm.interface import TextDelta
from pipelines.config import AgentConfig, CallConfig
from pipelines.speaking.languages import SMALL_WORDS, SpokenLanguage, language_instruction

SENTENCES = {
    "en": "I have a table for you at seven, is that good?",
    "fr": "Il est sept heures, je vous souhaite une bonne journée.",
    "es": "Son las siete, ¿puedo hacer algo más por usted?",
    "de": "Es ist sieben Uhr, kann ich noch etwas für Sie tun?",
    "it": "Sono le sette, posso fare qualcosa per lei?",
    "pt": "São sete horas, posso fazer mais alguma coisa por você?",
    "nl": "Het is zeven uur, kan ik nog iets voor u doen?",
    "ar": "الساعة السابعة",
    "hi": "सात बजे हैं",
}


def test_each_language_is_told_from_all_others() -> None:
    for before in ("en", "fr"):
        for language, sentence in SENTENCES.items():
            spoken = SpokenLanguage((before, *SENTENCES))
            assert spoken.of(sentence) == language, (language, before)


def test_what_says_nothing_stays_with_the_language_before() -> None:
    for text in ("Okay.", "42", "", "Paris, Berlin, Roma."):
        spoken = SpokenLanguage(("en", "fr"))
        assert spoken.of("Bonjour, je vous écoute.") == "fr", text
        assert spoken.of(text) == "fr", text


def test_only_languages_of_the_call_are_spoken() -> None:
    assert SpokenLanguage(("en",)).of(SENTENCES["fr"]) == "en"
    assert SpokenLanguage(("en", "de")).of(SENTENCES["fr"]) == "en"


def test_regions_are_of_their_language() -> None:
    assert SpokenLanguage(("en-GB", "pt-BR")).of(SENTENCES["pt"]) == "pt-BR"


def test_the_mind_is_asked_to_follow_the_caller_if_there_is_a_choice() -> None:
    assert language_instruction(("en",)) == ""
    assert language_instruction(("en", "fr")) == "Answer in the language that the caller speaks, one of en, fr."
    assert set(SMALL_WORDS) <= set(SENTENCES)


@pytest.mark.parametrize(
    ("speech", "french_voice"), [({}, "essai"), ({"voices": {"fr": "essayeur"}}, "essayeur"), ({"voice": "x"}, "essai")]
)
async def test_the_voice_follows_from_clause_to_clause(speech: Any, french_voice: str, chain_of: Any) -> None:
    agent = AgentConfig.model_validate({"further_languages": ["fr"], **speech})
    english = (speech.get("voice", "test"), "en")
    async with chain_of(CallConfig(), agent=agent) as chain:
        chain.model.scripts += [[TextDelta(SENTENCES["fr"])], [TextDelta(SENTENCES["en"])]]
        await chain.says("what time is it, in French please")
        await chain.play(600)
        french = len(chain.synthesizer.voices_used)
        assert set(chain.synthesizer.voices_used) == {(french_voice, "fr")}
        await chain.says("and a table in English")
        await chain.play(600)
        assert set(chain.synthesizer.voices_used[french:]) == {english}
