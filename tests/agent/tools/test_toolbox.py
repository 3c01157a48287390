"""Which tools an agent has, by name, entry point, module and file, and what is said of those that it cannot have."""

import json
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest

from agent.errors import ToolUnavailable
from agent.tools import sources as tool_sources
from agent.tools.config import ToolsConfig, WebConfig
from agent.tools.toolbox import Toolbox, open_toolbox
from pipelines.config import AgentConfig

SHOP = '''
from dataclasses import dataclass

from agent.tools.function import tool


@dataclass
class Price:
    amount: int


@tool(on_interruption="finish")
def order(dish: str) -> dict[str, str]:
    """Order a dish."""
    return {"dish": dish}


def untyped(dish):
    return dish


def many(*dishes: str) -> None: ...


def unresolved(dish: "Dish") -> None: ...


opening_hours = "always"
'''


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a module of tools, on Python's path."""
    (tmp_path / "corner_shop.py").write_text(SHOP)
    (tmp_path / "broken_shop.py").write_text("import no_such_module")
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("corner_shop", None)


def names(toolbox: Toolbox) -> list[str]:
    return [tool.tool.name for tool in toolbox.for_call()]


def test_the_tools_of_an_agent_that_names_none() -> None:
    assert names(Toolbox(AgentConfig().tools, ToolsConfig())) == ["current_time", "book_table", "end_call"]


async def test_a_function_by_module_or_file(shop: Path) -> None:
    for place in ("corner_shop", f"{shop}/corner_shop.py"):
        toolbox = Toolbox(("end_call", f"{place}:order"), ToolsConfig())
        assert names(toolbox) == ["end_call", "order"]
        order = toolbox.for_call()[1]
        assert order.on_interruption == "finish"
        assert json.loads(await order.run({"dish": "soup"})) == {"dish": "soup"}


def test_an_entry_point_of_an_installed_package(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def installed(*, group: str) -> EntryPoints:
        assert group == "parley.tools"
        return EntryPoints([EntryPoint("order_food", "corner_shop:order", group)])

    monkeypatch.setattr(tool_sources, "entry_points", installed)
    assert names(Toolbox(("order_food",), ToolsConfig())) == ["order"]
    with pytest.raises(ToolUnavailable, match="no tool order_fod; did you mean order_food"):
        Toolbox(("order_fod",), ToolsConfig())


def test_a_tool_that_cannot_be_had_is_one_line(shop: Path) -> None:
    for named, said in {
        ("curent_time",): "agent.tools: no tool curent_time; did you mean current_time?",
        ("sing",): "agent.tools: no tool sing; there are current_time, book_table, end_call",
        ("no_such_module:order",): "no_such_module:order cannot be imported (ModuleNotFoundError",
        ("broken_shop:order",): "broken_shop:order cannot be imported (ModuleNotFoundError: No module named 'no_such",
        ("absent.py:order",): "absent.py:order cannot be imported (FileNotFoundError",
        ("corner_shop:sell",): "corner_shop has no sell; correct the name after the colon",
        ("corner_shop:opening_hours",): "corner_shop:opening_hours is str, wanted a function",
        ("corner_shop:untyped",): "corner_shop:untyped cannot be a tool (parameter dish of untyped has no type",
        ("corner_shop:many",): "corner_shop:many cannot be a tool (parameter dishes of many",
        ("corner_shop:unresolved",): "corner_shop:unresolved cannot be a tool (name 'Dish' is not defined)",
        ("end_call", "end_call"): "agent.tools: two tools are called end_call; remove one",
    }.items():
        with pytest.raises(ToolUnavailable) as caught:
            Toolbox(named, ToolsConfig())
        assert said in str(caught.value)
        assert "\n" not in str(caught.value)


async def test_an_open_toolbox_has_the_web_if_hosts_are_allowed() -> None:
    config = ToolsConfig(web=WebConfig(hosts=("example.org",)))
    async with open_toolbox((), config) as toolbox:
        (tool,) = toolbox.for_call()
    assert tool.tool.name == "http_get"
    assert "Hosts: example.org." in tool.tool.description
