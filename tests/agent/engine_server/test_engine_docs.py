"""What docs/engine-server.md tells people to write is understood."""

import re
import tomllib
from pathlib import Path

import pytest

from agent.engines.configure import load_settings

ROOT = Path(__file__).resolve().parents[3]
BLOCKS = re.findall(r"```toml\n(.*?)```", (ROOT / "docs" / "engine-server.md").read_text(), re.S)


@pytest.mark.parametrize("block", BLOCKS)
def test_the_examples_are_valid_settings(block: str) -> None:
    settings = load_settings(None, {"ENGINE_KEY": "only for this test"}, tomllib.loads(block))
    assert settings.engine_server.requests_per_key in {64, 256}


def test_there_are_examples() -> None:
    assert len(BLOCKS) == 2
