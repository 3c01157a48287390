"""The voices and languages of Voxtral TTS, known without its weights."""

from collections.abc import Sequence
from difflib import get_close_matches

from tts.interface import Voice, VoiceNotFound

LANGUAGES = {
    "ar": "Arabic",
    "de": "German",
    "en": "English",
    "es": "Spanish",
    "fr": "French",
    "hi": "Hindi",
    "it": "Italian",
    "nl": "Dutch",
    "pt": "Portuguese",
}
"""What every voice can speak, by BCP 47 tag; the accent stays that of the voice's own language."""

PRESET_NAMES = (
    "casual_female", "casual_male", "cheerful_female", "neutral_female", "neutral_male",
    "pt_male", "pt_female", "nl_male", "nl_female", "it_male", "it_female", "fr_male", "fr_female",
    "es_male", "es_female", "de_male", "de_female", "ar_male", "hi_male", "hi_female",
)  # fmt: skip
"""`audio_tokenizer_args.voice` of the released params.json, in its order."""


def voice_of(name: str) -> Voice:
    """The voice that a checkpoint calls by that name: `<language>_<gender>`, or `<manner>_<gender>` for English."""
    kind, _, gender = name.partition("_")
    if kind in LANGUAGES:
        return Voice(name, kind, f"{LANGUAGES[kind]}, {gender}")
    return Voice(name, "en", f"English, {gender}, {kind}")


PRESETS = tuple(voice_of(name) for name in PRESET_NAMES)


def find_voice(name: str, voices: Sequence[Voice]) -> Voice:
    """The voice of that name; case is ignored.

    Raises:
        VoiceNotFound: with the nearest names.
    """
    by_name = {voice.name: voice for voice in voices}
    if voice := by_name.get(name.lower()):
        return voice
    near = get_close_matches(name.lower(), by_name, n=3, cutoff=0.4) or list(by_name)
    raise VoiceNotFound(f"no voice {name!r}; the nearest are {', '.join(near)}")
