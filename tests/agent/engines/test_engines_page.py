"""docs/engines.md: its engine of one's own runs as it stands there, and its table has every engine of ours."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from agent.engines.configure import load_settings
from agent.engines.open import open_engines
from agent.engines.registry import find_entry_points, read_registry
from agent.errors import ConfigError
from llm.interface import Message, TextDelta

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "engines.md").read_text()
(SOURCE,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
ENTRY_POINT, SETTINGS = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def settings_file(tmp_path: Path, install: Any) -> Path:
    """The page's engine installed, and a file with its settings."""
    lines = ENTRY_POINT.replace('project.entry-points."parley.engines"', "parley.engines").replace('"', "")
    install("parley-echo", "echo", SOURCE, lines)
    file = tmp_path / "agent.toml"
    file.write_text(SETTINGS)
    return file


def test_a_whole_engine_takes_less_than_60_lines() -> None:
    assert 30 < len(SOURCE.splitlines()) < 60


async def test_the_engine_of_the_page_answers(settings_file: Path) -> None:
    registry = read_registry(find_entry_points())
    settings = load_settings(settings_file, {}, {"profile": "embedded"}, registry=registry)
    async with open_engines(settings, registry) as engines:
        assert engines.about["engine"] == "Echo"
        messages = [Message("system", "Be kind."), Message("user", "good morning")]
        async with engines.language_model.reply(messages) as reply:
            pieces = [piece async for piece in reply]
        assert all(isinstance(piece, TextDelta) for piece in pieces)
        assert "".join(piece.text for piece in pieces if isinstance(piece, TextDelta)) == "I heard: good morning "
        async with engines.language_model.reply(messages) as reply:
            await anext(reply)
            reply.cancel()
            reply.cancel()
            assert [piece async for piece in reply] == []


async def test_it_takes_over_like_any_other(settings_file: Path) -> None:
    registry = read_registry(find_entry_points())
    away = {"kind": "chat", "base_url": "http://127.0.0.1:1/v1", "model": "m", "retry_limit_s": 0}
    values = {"profile": "embedded", "llm": away, "fallback": {"llm": [{"kind": "echo"}]}}
    async with (
        open_engines(load_settings(None, {}, values, registry=registry), registry) as engines,
        engines.language_model.reply([Message("user", "hello")]) as reply,
    ):
        assert await anext(reply) == TextDelta("You ")


def test_a_mistake_in_its_settings_is_one_line(settings_file: Path) -> None:
    registry = read_registry(find_entry_points())
    settings_file.write_text(SETTINGS.replace("prefix", "prefx"))
    with pytest.raises(ConfigError) as caught:
        load_settings(settings_file, {}, registry=registry)
    assert str(caught.value) == f"{settings_file}: llm.prefx: no such setting; did you mean prefix?"


def test_the_commands_know_it(settings_file: Path) -> None:
    def run(*arguments: str) -> str:
        command = [sys.executable, "-m", "agent", *arguments]
        environment = {"PYTHONPATH": f"{settings_file.parent}:{ROOT}", "PATH": "/usr/bin:/bin"}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60).stdout

    page = run("settings")
    assert "## `llm`, kind `echo`\n\nRepeats what the caller says.\n" in page
    assert "| `llm.prefix` | `You said:` | What every reply begins with. |" in page
    assert '#: prefix = "You said:"' in run("settings", "--toml")
    found = run("doctor", "--config", str(settings_file))
    assert "LLM chat, demo, echo, ministral, mistral;" in found
    assert "LLM          echo: answers" in found


def test_the_table_has_every_engine_of_ours() -> None:
    own = read_registry(point for point in find_entry_points() if point.dist is None)
    rows = re.findall(r"^\| (ASR|LLM|TTS) \| `(\w+)` \|", PAGE, re.MULTILINE)
    assert sorted(rows) == [(spec.part.upper(), spec.kind) for spec in own.specs]
