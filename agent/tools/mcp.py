"""Tools of servers that speak the Model Context Protocol, through its own client library.

A server is connected to at the start and kept; one that goes away costs its tools until it is back, never a call.
"""

import asyncio
import json
import logging
import os
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, cast

from agent.errors import ToolUnavailable
from agent.extras import install_command
from agent.tools.config import McpServerConfig
from llm.interface import Tool
from pipelines.replying.tool_runs import CallTool

if TYPE_CHECKING:
    import httpx2
    import mcp

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 30.0  # between attempts to have a server back
_CHECK_INTERVAL_S = 20.0  # a server that went away is noticed after this, or by the first run that fails

_log = logging.getLogger(__name__)


class McpTools:
    """One server and its tools; a context, entered once the server has listed what it offers."""

    def __init__(self, name: str, config: McpServerConfig) -> None:
        self._name = name
        self._config = config
        self._client: mcp.Client | None = None
        self._is_lost = asyncio.Event()
        self._ready: asyncio.Future[Sequence[mcp.Tool]] | None = None
        self._owner: asyncio.Task[None] | None = None
        self._tools: Sequence[CallTool] = ()

    @property
    def tools(self) -> Sequence[CallTool]:
        """Those that the settings let the agent have, named as the server names them."""
        return self._tools

    async def __aenter__(self) -> Self:
        """Connect.

        Raises:
            ToolUnavailable: the server does not answer, or lacks a tool that the settings name.
        """
        self._group = asyncio.TaskGroup()
        await self._group.__aenter__()
        self._ready = asyncio.get_running_loop().create_future()
        self._owner = self._group.create_task(self._keep(self._ready), name=f"mcp {self._name}")
        try:
            async with asyncio.timeout(self._config.connect_timeout_s):
                offered = await asyncio.shield(self._ready)
            self._tools = self._choose(offered)
        except TimeoutError:
            await self._stop()
            limit_s = self._config.connect_timeout_s
            raise ToolUnavailable(f"tools.mcp.{self._name}: no answer within {limit_s:g} s; start the server") from None
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop()

    async def _stop(self) -> None:
        if self._owner:
            self._owner.cancel()
        await self._group.__aexit__(None, None, None)

    async def _keep(self, ready: "asyncio.Future[Sequence[mcp.Tool]]") -> None:
        """Stay connected; the client belongs to this task from its beginning to its end, as its library demands."""
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                async with self._connection() as client:
                    listed = await client.list_tools()
                    self._client = client
                    self._is_lost.clear()
                    if not ready.done():
                        ready.set_result(listed.tools)
                    pause_s = _FIRST_PAUSE_S
                    await self._until_lost(client)
            except Exception as error:  # of a server that is not ours, through three libraries
                if not ready.done():
                    message = f"tools.mcp.{self._name}: cannot be reached ({_cause(error)}); start it"
                    ready.set_exception(error if isinstance(error, ToolUnavailable) else ToolUnavailable(message))
                    return
                _log.warning("tools of %s are not available for now: %s", self._name, _cause(error))
            finally:
                self._client = None
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    async def _until_lost(self, client: "mcp.Client") -> None:
        while not self._is_lost.is_set():
            try:
                async with asyncio.timeout(_CHECK_INTERVAL_S):
                    await self._is_lost.wait()
            except TimeoutError:
                async with asyncio.timeout(self._config.limit_s):
                    await client.list_tools()

    @asynccontextmanager
    async def _connection(self) -> "AsyncGenerator[mcp.Client, None]":
        try:
            import mcp  # noqa: PLC0415  # an extra of the installation
        except ImportError:
            raise ToolUnavailable(f"the package mcp is not installed; run: {install_command('mcp')}") from None
        async with AsyncExitStack() as stack:
            if self._config.command:
                program, *arguments = self._config.command
                server = mcp.StdioServerParameters(command=program, args=arguments, env=dict(self._config.env) or None)
                yield await stack.enter_async_context(mcp.Client(server))
            else:
                http = await stack.enter_async_context(_http_client(self._config))
                from mcp.client.streamable_http import streamable_http_client  # noqa: PLC0415

                transport = streamable_http_client(self._config.url, http_client=http)
                yield await stack.enter_async_context(mcp.Client(transport))

    def _choose(self, offered: "Sequence[mcp.Tool]") -> Sequence[CallTool]:
        names = {tool.name for tool in offered}
        if lacking := set(self._config.tools) - names:
            raise ToolUnavailable(
                f"tools.mcp.{self._name}.tools: no {', '.join(sorted(lacking))}; there are {', '.join(sorted(names))}"
            )
        return [self._tool(tool) for tool in offered if not self._config.tools or tool.name in self._config.tools]

    def _tool(self, offered: "mcp.Tool") -> CallTool:
        async def run(arguments: Mapping[str, Any]) -> str:
            return await self._run(offered.name, arguments)

        return CallTool(Tool(offered.name, offered.description or "", offered.input_schema), run)

    async def _run(self, name: str, arguments: Mapping[str, Any]) -> str:
        client = self._client
        if client is None:
            return _failure(f"{name} is not available now")
        try:
            async with asyncio.timeout(self._config.limit_s):
                result = await client.call_tool(name, dict(arguments))
        except TimeoutError:
            _log.warning("tool %s of %s took longer than %.1f s", name, self._name, self._config.limit_s)
            return _failure(f"{name} took too long")
        except Exception as error:  # of a server that is not ours; it costs its caller this one answer
            _log.warning("tool %s of %s failed: %s", name, self._name, _cause(error))
            self._is_lost.set()
            return _failure(f"{name} failed")
        return _result(result)


def _http_client(config: McpServerConfig) -> "httpx2.AsyncClient":
    import httpx2  # noqa: PLC0415  # comes with mcp

    token = os.environ.get(config.token_env, "") if config.token_env else ""
    headers = {"Authorization": f"Bearer {token}"} if token else None
    # Runs are timed one by one.
    return httpx2.AsyncClient(headers=headers, timeout=httpx2.Timeout(config.connect_timeout_s, read=None))


def _result(result: "mcp.types.CallToolResult") -> str:
    """What the model gets to read: the structured content if there is any, else the text."""
    text = "\n".join(part.text for part in result.content if part.type == "text")
    if result.is_error:
        return _failure(text or "failed")
    found = result.structured_content if result.structured_content is not None else {"text": text}
    return json.dumps(found, ensure_ascii=False)


def _cause(error: BaseException) -> str:
    """The first error inside a group, on one line."""
    while isinstance(error, BaseExceptionGroup):
        error = cast(BaseExceptionGroup[BaseException], error).exceptions[0]
    return " ".join(f"{type(error).__name__}: {error}".split())


def _failure(message: str) -> str:
    return json.dumps({"error": message}, ensure_ascii=False)
