"""Tools of a real server of the Model Context Protocol: over pipes, over HTTP, failing, and gone for a while."""

import asyncio
import json
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from agent.errors import ToolUnavailable
from agent.tools import mcp as mcp_tools
from agent.tools.config import McpServerConfig, ToolsConfig
from agent.tools.mcp import McpTools
from agent.tools.toolbox import Toolbox, open_toolbox

SERVER = """
import os
import sys
import time

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError

server = MCPServer("shop")


@server.tool()
def price(dish: str, count: int = 1) -> dict[str, int]:
    "The price of a dish."
    return {"total": 7 * count}


@server.tool()
def menu() -> str:
    "What there is."
    return os.environ.get("MENU", "soup")


@server.tool()
def refuse() -> str:
    "Never works."
    raise ToolError("closed on mondays")


@server.tool()
def wait() -> str:
    "Takes for ever."
    time.sleep(60)
    return ""


@server.tool()
def crash() -> str:
    "Takes the server down."
    os._exit(1)


if sys.argv[1:]:
    server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[1]))
else:
    server.run()
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    file = tmp_path / "shop.py"
    file.write_text(SERVER)
    return file


def over_pipes(program: Path, **settings: Any) -> McpServerConfig:
    return McpServerConfig(command=(sys.executable, str(program)), **settings)


async def run(server: McpTools, name: str, **arguments: object) -> Any:
    (tool,) = [tool for tool in server.tools if tool.tool.name == name]
    return json.loads(await tool.run(arguments))


async def test_tools_over_pipes(program: Path) -> None:
    async with McpTools("shop", over_pipes(program, env={"MENU": "stew"})) as server:
        assert [tool.tool.name for tool in server.tools] == ["price", "menu", "refuse", "wait", "crash"]
        price = server.tools[0].tool
        assert price.description == "The price of a dish."
        assert price.parameters["required"] == ["dish"]
        assert await run(server, "price", dish="soup", count=3) == {"total": 21}
        assert "stew" in json.dumps(await run(server, "menu"))
        assert "closed on mondays" in (await run(server, "refuse"))["error"]
        assert "error" in await run(server, "price")


async def test_a_tool_that_takes_too_long_costs_only_its_answer(program: Path) -> None:
    async with McpTools("shop", over_pipes(program, limit_s=0.5, tools=("wait", "menu"))) as server:
        assert await run(server, "wait") == {"error": "wait took too long"}
        assert [tool.tool.name for tool in server.tools] == ["menu", "wait"]


async def test_a_server_that_crashes_comes_back(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mcp_tools, "_FIRST_PAUSE_S", 0.01)
    async with asyncio.timeout(60), McpTools("shop", over_pipes(program)) as server:
        assert await run(server, "crash") == {"error": "crash failed"}
        answers: list[Any] = []
        for _ in range(500):
            answers.append(await run(server, "price", dish="soup"))
            if answers[-1] == {"total": 7}:
                break
            await asyncio.sleep(0.05)
        assert answers[-1] == {"total": 7}
        assert {"error": "price is not available now"} in answers


@pytest.fixture
async def over_http(program: Path) -> AsyncIterator[str]:
    """The URL of a server in a process of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(program), str(port), stderr=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL
    )
    try:
        for _ in range(600):
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                await writer.wait_closed()
                break
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        process.kill()
        await process.wait()


async def test_tools_over_http(over_http: str) -> None:
    async with McpTools("shop", McpServerConfig(url=over_http, tools=("price",))) as server:
        assert [tool.tool.name for tool in server.tools] == ["price"]
        assert await run(server, "price", dish="soup") == {"total": 7}


async def test_a_server_that_cannot_be_had_is_one_line() -> None:
    stuck = (sys.executable, "-c", "import time; time.sleep(60)")
    for config, said in (
        (McpServerConfig(command=("/no/such/program",)), r"cannot be reached \(FileNotFoundError"),
        (McpServerConfig(command=(sys.executable, "-c", "pass")), "cannot be reached"),
        (McpServerConfig(url="http://127.0.0.1:1/mcp"), r"cannot be reached \(ConnectError"),
        (McpServerConfig(command=stuck, connect_timeout_s=0.5), "no answer within 0.5 s"),
    ):
        with pytest.raises(ToolUnavailable, match=f"^tools.mcp.shop: {said}") as caught:
            async with asyncio.timeout(30), McpTools("shop", config):
                pass
        assert "\n" not in str(caught.value)


async def test_a_tool_that_the_server_lacks(program: Path) -> None:
    with pytest.raises(ToolUnavailable, match=r"tools.mcp.shop.tools: no sing; there are crash, menu"):
        async with McpTools("shop", over_pipes(program, tools=("sing",))):
            pass


async def test_without_the_package_the_command_is_told(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mcp", None)
    with pytest.raises(ToolUnavailable, match=r"^the package mcp is not installed; run: make extra-mcp$"):
        async with McpTools("shop", over_pipes(program)):
            pass


async def test_a_toolbox_has_them_beside_its_own(program: Path) -> None:
    config = ToolsConfig(mcp={"shop": over_pipes(program, tools=("menu",))})
    async with open_toolbox(("end_call",), config) as toolbox:
        assert isinstance(toolbox, Toolbox)
        assert [tool.tool.name for tool in toolbox.for_call()] == ["end_call", "menu"]
