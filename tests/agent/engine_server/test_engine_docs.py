"""What docs/engine-server.md tells people to write is understood."""

import re
import tomllib
from pathlib import Path

from agent.engines.configure import load_settings

ROOT = Path(__file__).resolve().parents[3]
BLOCKS = re.findall(r"```toml\n(.*?)```", (ROOT / "docs" / "engine-server.md").read_text(), re.S)


def test_the_examples_are_settings_that_are_taken() -> None:
    server, client = (
        load_settings(None, {"ENGINE_KEY": "only for this test"}, tomllib.loads(block)) for block in BLOCKS
    )
    assert server.engine_server.host == "0.0.0.0"
    assert [key.get_secret_value() for key in server.engine_server.api_keys] == ["a long random word for each client"]
    assert server.engine_server.requests_per_key == 64
    assert client.profile == "remote"
    for part, model in (("asr", "Voxtral-Mini-4B-Realtime-2602"), ("llm", "Ministral-3-8B-Instruct-2512"), ("tts", "")):
        settings = getattr(client, part).model_dump(mode="json")
        assert settings["base_url"] == "http://gpu.example.org:8000/v1", part
        assert settings["api_key_env"] == "ENGINE_KEY", part
        assert model in (settings.get("model") or ""), part
