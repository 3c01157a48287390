"""API keys come from the environment, by the name that the settings give."""

from typing import Any

import pytest

from agent.engines.keys import api_key, required_key
from agent.engines.open import StepLoops, language_model_of, recognizer_of, synthesizer_of
from agent.errors import EngineUnavailable
from agent.settings.config import load_settings

CLOUD = {part: {"kind": "mistral"} for part in ("asr", "llm", "tts")}


def test_a_key_is_kept_from_sight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_KEY", " sk-very-secret\n")
    key = api_key("THE_KEY")
    assert key is not None
    assert key.get_secret_value() == "sk-very-secret"
    assert "sk-very-secret" not in repr(key) + str(key)


def test_a_server_may_want_no_key() -> None:
    assert api_key(None) is None
    with pytest.raises(EngineUnavailable, match="name its environment variable in api_key_env"):
        required_key(None)


@pytest.mark.parametrize("value", [None, "", "  "])
def test_a_missing_key_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    monkeypatch.delenv("THE_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("THE_KEY", value)
    with pytest.raises(EngineUnavailable, match=r"variable THE_KEY, found none: export THE_KEY=\.\.\.$"):
        api_key("THE_KEY")


@pytest.mark.parametrize("engine_of", [recognizer_of, language_model_of, synthesizer_of])
async def test_the_cloud_is_not_asked_without_one(monkeypatch: pytest.MonkeyPatch, engine_of: Any) -> None:
    monkeypatch.delenv("MISTRAL_API_KEY", raising=False)
    async with StepLoops() as loops:
        with pytest.raises(EngineUnavailable, match="MISTRAL_API_KEY"):
            await engine_of(load_settings(None, {}, CLOUD), loops).__aenter__()
