"""docs/tools.md is true: its code runs, and does what the page says."""

import json
import re
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from agent.engines.configure import load_settings
from agent.settings.config import Settings
from agent.tools.config import ToolsConfig
from agent.tools.toolbox import Toolbox, open_toolbox
from pipelines.replying.tool_runs import CallTool

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "tools.md").read_text()
TABLES, MENU_SERVER = re.findall(r"```python\n(.*?)```", PAGE, re.S)
FAULTY = """
import asyncio

from parley.agent.tools import tool


def divide(by: int) -> int:
    return 1 // by


@tool(limit_s=0.01)
async def wait() -> None:
    await asyncio.Event().wait()
"""
USE, ENTRY_POINTS, MCP, WEB = (tomllib.loads(block) for block in re.findall(r"```toml\n(.*?)```", PAGE, re.S))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The reader's folder, with the page's files, that Parley is started in."""
    (tmp_path / "tables.py").write_text(TABLES)
    (tmp_path / "menu_server.py").write_text(MENU_SERVER)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def settings_of(block: Mapping[str, object]) -> Settings:
    return load_settings(None, {}, block)


def tools_of(block: Mapping[str, object]) -> Sequence[CallTool]:
    settings = settings_of(block)
    return Toolbox(settings.agent.tools, settings.tools).for_call()


def named(tools: Sequence[CallTool], name: str) -> CallTool:
    return next(tool for tool in tools if tool.tool.name == name)


async def answer(tools: Sequence[CallTool], name: str, **arguments: object) -> Any:
    return json.loads(await named(tools, name).run(arguments))


async def test_functions(folder: Path) -> None:
    tools = tools_of(USE)
    assert [tool.tool.name for tool in tools] == ["end_call", "book", "opening_hours"]
    book = named(tools, "book")
    assert book.on_interruption == "finish"
    assert book.tool.description == "Book a table."
    assert book.tool.parameters["properties"]["day"]["description"] == "day of the visit, such as friday."
    assert await answer(tools, "book", day="friday") == {"reference": "friday-2"}
    assert await answer(tools, "opening_hours", day="monday") == "closed"


async def test_what_goes_wrong(folder: Path) -> None:
    (folder / "faulty.py").write_text(FAULTY)
    use = ("tables.py:book", "faulty.py:divide", "faulty.py:wait")
    tools = Toolbox(use, ToolsConfig()).for_call()
    for name, arguments, said in (
        ("book", {"day": "friday", "people": 13}, "twelve guests at most; larger parties call the restaurant"),
        ("book", {"day": "friday", "people": "many"}, "people: Input should be a valid integer"),
        ("divide", {"by": 0}, "divide failed"),
        ("wait", {}, "wait took too long"),
    ):
        assert (await answer(tools, name, **arguments))["error"].startswith(said)


async def test_an_entry_point(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = folder / "tables-1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: tables\nVersion: 1.0\n")
    points = ENTRY_POINTS["project"]["entry-points"]["parley.tools"]
    lines = "\n".join(f"{name} = {value}" for name, value in points.items())
    (package / "entry_points.txt").write_text(f"[parley.tools]\n{lines}\n")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "tables", raising=False)
    tools = Toolbox(("book_a_table",), ToolsConfig()).for_call()
    assert await answer(tools, "book", day="friday") == {"reference": "friday-2"}


async def test_a_server(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))  # where `python` is
    async with open_toolbox((), settings_of(MCP).tools) as toolbox:
        assert await answer(toolbox.for_call(), "dish_of", day="monday") == {"result": "soup"}


async def test_http_get_asks_the_hosts_of_the_page_only() -> None:
    tools = tools_of(WEB)
    assert "api.example.org" in named(tools, "http_get").tool.description
    for url, said in (
        ("https://example.net/", "allowed are api.example.org"),
        ("http://api.example.org/", "begins with https"),
    ):
        assert said in (await answer(tools, "http_get", url=url))["error"]
