"""The tools of one agent, ready for any number of calls."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from agent.errors import ToolUnavailable
from agent.tools.config import ToolsConfig
from agent.tools.function import function_tool
from agent.tools.http_get import web_getter
from agent.tools.mcp import McpTools
from agent.tools.sources import Source, source_of
from agent.tools.threads import ToolThreads
from pipelines.replying.tool_runs import CallTool


class Toolbox:
    """The functions to make tools of, and the tools of other servers."""

    def __init__(self, names: Sequence[str], config: ToolsConfig, others: Sequence[CallTool] = ()) -> None:
        """Args:
        names: the functions, as `agent.tools` names them.
        config: what tools may take and reach.
        others: the tools of other servers.

        Raises:
            ToolUnavailable: a tool cannot be had, or two bear one name.
        """
        self._limit_s = config.limit_s
        self._threads = ToolThreads()
        self._sources: list[tuple[str, Source]] = [(name, source_of(name)) for name in names]
        if config.web.hosts:
            getter = web_getter(config.web)
            self._sources.append(("http_get", lambda: getter))
        self._others = tuple(others)
        _require_distinct([tool.tool.name for tool in self.for_call()])

    def for_call(self) -> Sequence[CallTool]:
        """The tools of one call; what they remember is gone with it."""
        return (*(self._tool(name, source) for name, source in self._sources), *self._others)

    def _tool(self, name: str, source: Source) -> CallTool:
        try:
            return function_tool(source(), limit_s=self._limit_s, threads=self._threads)
        except (TypeError, NameError, ValueError) as error:  # annotations that no schema can be made of
            raise ToolUnavailable(f"agent.tools: {name} cannot be a tool ({error}); annotate its parameters") from error


@asynccontextmanager
async def open_toolbox(names: Sequence[str], config: ToolsConfig) -> AsyncGenerator[Toolbox, None]:
    """The toolbox, its servers connected; they are left with the context.

    Args:
        names: the functions, as `agent.tools` names them.
        config: the servers, and what tools may take and reach.

    Raises:
        ToolUnavailable: a tool that cannot be had; the message names the setting.
    """
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(McpTools(name, server)) for name, server in config.mcp.items()]
        yield Toolbox(names, config, [tool for server in servers for tool in server.tools])


def _require_distinct(names: Sequence[str]) -> None:
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ToolUnavailable(f"agent.tools: two tools are called {', '.join(twice)}; remove one, here or in tools.mcp")
