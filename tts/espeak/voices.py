"""The voices that eSpeak NG offers here: a man and a woman for each of the nine languages, and two from Britain."""

import difflib

from tts.interface import LanguageNotSupported, Voice, VoiceNotFound

# BCP 47 primary tag: the language's name, and eSpeak's name of its pronunciation.
_LANGUAGES = {
    "en": ("English", "en-us"),
    "fr": ("French", "fr"),
    "es": ("Spanish", "es"),
    "de": ("German", "de"),
    "it": ("Italian", "it"),
    "pt": ("Portuguese", "pt-br"),
    "nl": ("Dutch", "nl"),
    "ar": ("Arabic", "ar"),
    "hi": ("Hindi", "hi"),
}
_TIMBRES = {"female": "+f2", "male": "+m3"}
_BRITISH = "en-gb-x-rp"

VOICES: tuple[Voice, ...] = (
    *(
        Voice(f"{tag}_{timbre}", tag, f"{language}, {timbre}")
        for tag, (language, _) in _LANGUAGES.items()
        for timbre in _TIMBRES
    ),
    *(Voice(f"en_gb_{timbre}", "en", f"British English, {timbre}") for timbre in _TIMBRES),
)


def default_voice(language: str) -> str:
    """Name of the voice to speak a language (BCP 47) with when none is asked for.

    Raises:
        LanguageNotSupported: no voice speaks it.
    """
    return f"{_primary_tag(language)}_female"


def espeak_voice(voice: str, language: str) -> str:
    """eSpeak's name for a voice speaking a language, which need not be its own: "fr+m3" is a man speaking French.

    Raises:
        VoiceNotFound: no voice of this name; the message lists the nearest.
        LanguageNotSupported: no voice speaks this language.
    """
    names = [offered.name for offered in VOICES]
    voice = voice.lower()
    if voice not in names:
        nearest = difflib.get_close_matches(voice, names, n=3, cutoff=0.3) or names[:3]
        raise VoiceNotFound(
            f"no voice named {voice!r}: choose one of {len(names)}, the nearest are {', '.join(nearest)}"
        )
    tag = _primary_tag(language)
    is_british = tag == "en" and voice.startswith("en_gb_")
    return (_BRITISH if is_british else _LANGUAGES[tag][1]) + _TIMBRES[voice.rpartition("_")[2]]


def _primary_tag(language: str) -> str:
    tag = language.replace("_", "-").partition("-")[0].lower()
    if tag not in _LANGUAGES:
        raise LanguageNotSupported(f"no voice speaks {language!r}: choose one of {', '.join(_LANGUAGES)}")
    return tag
