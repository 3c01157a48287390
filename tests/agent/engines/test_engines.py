"""From settings to engines: an engine with others behind it goes on as one of them."""

from typing import Any

import pytest
from aiohttp import web

from agent.engines.configure import load_settings
from agent.engines.open import open_engines, synthesizer_of
from agent.engines.resources import Resources
from agent.errors import EngineUnavailable
from asr.fallback import FallbackRecognizer
from asr.sphinx.engine import SphinxRecognizer
from llm.demo.model import DemoModel
from llm.fallback import FallbackLanguageModel
from tts.espeak.engine import EspeakSynthesizer
from tts.fallback import FallbackSynthesizer
from tts.interface import EngineBusy

NOBODY = "http://127.0.0.1:1/v1"  # refuses every connection
EMBEDDED = {"asr": [{"kind": "sphinx"}], "llm": [{"kind": "demo"}], "tts": [{"kind": "espeak"}]}
ESPEAK_TWICE = {"tts": {"kind": "espeak", "utterances": 1}, "fallback": {"tts": [{"kind": "espeak"}]}}


async def test_an_engine_with_nobody_behind_it_is_taken_as_it_is() -> None:
    async with open_engines(load_settings(None, {"PARLEY_PROFILE": "embedded"})) as engines:
        assert isinstance(engines.recognizer, SphinxRecognizer)
        assert isinstance(engines.language_model, DemoModel)
        assert isinstance(engines.synthesizer, EspeakSynthesizer)


async def test_every_part_can_have_others_behind_it() -> None:
    async with open_engines(load_settings(None, {}, {"profile": "embedded", "fallback": EMBEDDED})) as engines:
        assert isinstance(engines.recognizer, FallbackRecognizer)
        assert isinstance(engines.language_model, FallbackLanguageModel)
        assert isinstance(engines.synthesizer, FallbackSynthesizer)


async def test_a_full_engine_hands_over_to_the_next() -> None:
    async with (
        Resources() as resources,
        synthesizer_of(load_settings(None, {}, ESPEAK_TWICE), resources) as synthesizer,
    ):
        voice = synthesizer.voices[0]
        async with (
            synthesizer.speak("one", voice=voice.name, language=voice.language) as first,
            synthesizer.speak("two", voice=voice.name, language=voice.language) as second,
        ):
            assert (await anext(first)).samples.size
            assert (await anext(second)).samples.size


async def test_an_engine_with_nobody_behind_it_fails_when_it_is_full() -> None:
    settings = load_settings(None, {}, {"tts": ESPEAK_TWICE["tts"]})
    async with Resources() as resources, synthesizer_of(settings, resources) as synthesizer:
        voice = synthesizer.voices[0]
        async with synthesizer.speak("one", voice=voice.name, language=voice.language):
            with pytest.raises(EngineBusy):
                await synthesizer.speak("two", voice=voice.name, language=voice.language).__aenter__()


def on_servers(url: str, **behind: Any) -> dict[str, Any]:
    """Settings with all engines on this server, tried once, and these behind them."""
    server = {"base_url": url, "retry_limit_s": 0}
    return {
        "asr": {"kind": "vllm", **server, "model": "listener"},
        "llm": {"kind": "chat", **server, "model": "thinker"},
        "tts": {"kind": "omni", **server},
        "fallback": behind,
    }


async def test_servers_that_are_down_at_the_start_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    async with open_engines(load_settings(None, {}, on_servers(NOBODY, **EMBEDDED))) as engines:
        voice = engines.synthesizer.voices[0]
        async with engines.synthesizer.speak("one", voice=voice.name, language=voice.language) as utterance:
            assert (await anext(utterance)).samples.size
        async with engines.recognizer.listen(language="en") as recognition:
            recognition.flush()
            assert (await anext(recognition)).is_final
    asr, llm, tts = (record.getMessage() for record in caplog.records if record.levelname == "WARNING")
    assert asr.startswith(f"ASR: vllm does not start, continuing with sphinx: {NOBODY}/models: no connection")
    assert llm.startswith("LLM: chat does not start, continuing with demo: ")
    assert tts.startswith("TTS: omni does not start, continuing with espeak: ")


async def test_a_server_that_refuses_the_key_at_the_start_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    async def refuse(_: web.Request) -> web.Response:
        return web.json_response({"message": "revoked"}, status=401)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", refuse)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    try:
        async with open_engines(load_settings(None, {}, on_servers(url, **EMBEDDED))) as engines:
            assert engines.synthesizer.voices
    finally:
        await runner.cleanup()
    refusals = [record for record in caplog.records if "answered 401 (revoked)" in record.getMessage()]
    assert [record.levelname for record in refusals] == ["WARNING"] * 3


async def test_when_no_engine_of_a_part_starts_every_cause_is_named() -> None:
    two = on_servers(NOBODY, tts=[{"kind": "omni", "base_url": "http://127.0.0.1:2/v1", "retry_limit_s": 0}])
    async with Resources() as resources:
        with pytest.raises(
            EngineUnavailable, match=r"TTS engine starts: omni: .*:1/v1.* no connection.*; omni: .*:2/v1"
        ):
            await synthesizer_of(load_settings(None, {}, two), resources).__aenter__()


async def test_a_synthesizer_of_another_rate_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else its voice would be heard at the wrong pitch."""
    monkeypatch.setattr(EspeakSynthesizer, "sample_rate_hz", 22_050)
    with pytest.raises(EngineUnavailable, match="espeak speaks at 22050 Hz, calls want 24000"):
        async with open_engines(load_settings(None, {"PARLEY_PROFILE": "embedded"})):
            pass
