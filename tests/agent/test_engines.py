"""From settings to engines: an engine with others behind it goes on as one of them."""

import pytest

from agent.config import load_settings
from agent.engines import StepLoops, open_engines, synthesizer_of
from asr.fallback import FallbackRecognizer
from asr.sphinx import SphinxRecognizer
from llm.demo import DemoMind
from llm.fallback import FallbackLanguageModel
from tts.espeak import EspeakSynthesizer
from tts.fallback import FallbackSynthesizer
from tts.interface import EngineBusy

ESPEAK_TWICE = {"tts": {"kind": "espeak", "utterances": 1}, "fallback": {"tts": [{"kind": "espeak"}]}}


async def test_an_engine_with_nobody_behind_it_is_taken_as_it_is() -> None:
    async with open_engines(load_settings(None, {"PARLEY_PROFILE": "embedded"})) as engines:
        assert isinstance(engines.recognizer, SphinxRecognizer)
        assert isinstance(engines.language_model, DemoMind)
        assert isinstance(engines.synthesizer, EspeakSynthesizer)


async def test_every_part_can_have_others_behind_it() -> None:
    fallback = {"asr": [{"kind": "sphinx"}], "llm": [{"kind": "demo"}], "tts": [{"kind": "espeak"}]}
    async with open_engines(load_settings(None, {}, {"profile": "embedded", "fallback": fallback})) as engines:
        assert isinstance(engines.recognizer, FallbackRecognizer)
        assert isinstance(engines.language_model, FallbackLanguageModel)
        assert isinstance(engines.synthesizer, FallbackSynthesizer)


async def test_a_full_engine_hands_over_to_the_next() -> None:
    async with StepLoops() as loops, synthesizer_of(load_settings(None, {}, ESPEAK_TWICE), loops) as synthesizer:
        voice = synthesizer.voices[0]
        async with (
            synthesizer.speak("one", voice=voice.name, language=voice.language) as first,
            synthesizer.speak("two", voice=voice.name, language=voice.language) as second,
        ):
            assert (await anext(first)).samples.size
            assert (await anext(second)).samples.size


async def test_an_engine_with_nobody_behind_it_fails_when_it_is_full() -> None:
    settings = load_settings(None, {}, {"tts": ESPEAK_TWICE["tts"]})
    async with StepLoops() as loops, synthesizer_of(settings, loops) as synthesizer:
        voice = synthesizer.voices[0]
        async with synthesizer.speak("one", voice=voice.name, language=voice.language):
            with pytest.raises(EngineBusy):
                await synthesizer.speak("two", voice=voice.name, language=voice.language).__aenter__()
