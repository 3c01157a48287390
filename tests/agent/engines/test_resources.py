"""API keys come from the environment, by the name that the settings give; step loops are one a device."""

from pathlib import Path
from typing import Any

import pytest

from agent import extras
from agent.engines.configure import load_settings
from agent.engines.open import language_model_of, recognizer_of, synthesizer_of
from agent.engines.resources import Resources
from agent.errors import EngineUnavailable

CLOUD = {part: {"kind": "mistral"} for part in ("asr", "llm", "tts")}


def test_a_key_is_kept_from_sight() -> None:
    key = Resources({"THE_KEY": " sk-very-secret\n"}).api_key("THE_KEY")
    assert key is not None
    assert key.get_secret_value() == "sk-very-secret"
    assert "sk-very-secret" not in repr(key) + str(key)


def test_a_server_may_want_no_key() -> None:
    assert Resources({}).api_key(None) is None
    with pytest.raises(EngineUnavailable, match="name its environment variable in api_key_env"):
        Resources({}).required_key(None)


def test_a_missing_key_is_said_in_one_line() -> None:
    for environment in ({}, {"THE_KEY": ""}, {"THE_KEY": "  "}):
        with pytest.raises(EngineUnavailable, match=r"variable THE_KEY, found none: export THE_KEY=\.\.\.$"):
            Resources(environment).api_key("THE_KEY")


async def test_the_cloud_is_not_asked_without_one() -> None:
    settings = load_settings(None, {}, CLOUD)
    for engine_of in (recognizer_of, language_model_of, synthesizer_of):
        async with Resources({}) as resources:
            with pytest.raises(EngineUnavailable, match="MISTRAL_API_KEY"):
                await engine_of(settings, resources).__aenter__()


async def test_the_engines_of_a_device_share_its_step_loop() -> None:
    async with Resources() as resources:
        assert await resources.step_loop("cpu") is await resources.step_loop("cpu")


async def test_an_engine_without_its_package_is_refused_before_it_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    kinds = {"asr": {"kind": "voxtral"}, "llm": {"kind": "mistral"}, "tts": {"kind": "voxtral"}}
    settings = load_settings(None, {}, kinds)
    for engine_of, said in (
        (recognizer_of, r"^asr.kind = voxtral needs torch, which is not installed; run: make extra-engines$"),
        (language_model_of, r"^llm.kind = mistral needs mistralai, .*make extra-mistral$"),
        (synthesizer_of, r"^tts.kind = voxtral needs torch, .*make extra-engines$"),
    ):
        async with Resources({"MISTRAL_API_KEY": "k"}) as resources:
            with pytest.raises(EngineUnavailable, match=said):
                await engine_of(settings, resources).__aenter__()


async def test_a_checkpoint_that_cannot_be_read_is_an_engine_that_is_not_available(tmp_path: Path) -> None:
    ours: dict[str, Any] = {"checkpoint": str(tmp_path), "device": "cpu"}
    kinds = {"asr": {"kind": "voxtral"}, "llm": {"kind": "ministral"}, "tts": {"kind": "voxtral"}}
    settings = load_settings(None, {}, {part: kind | ours for part, kind in kinds.items()})
    for engine_of in (recognizer_of, language_model_of, synthesizer_of):
        async with Resources() as resources:
            with pytest.raises(EngineUnavailable, match=str(tmp_path)):
                await engine_of(settings, resources).__aenter__()
