"""Functions as tools: schema, checking, time limit, and the built-in ones."""

import asyncio
import json
import sys
import threading
from pathlib import Path
from typing import Any, Literal

import pytest

from agent.tools.config import ToolsConfig
from agent.tools.function import Function, ToolRefusal, function_tool, tool
from agent.tools.threads import ToolThreads
from agent.tools.toolbox import Toolbox
from pipelines.config import AgentConfig
from pipelines.replying.tool_runs import CallTool


def order(dish: str, size: Literal["small", "large"] = "small", *, count: int = 1) -> dict[str, Any]:
    """Order a dish
    from the kitchen.

    Args:
        dish: what to cook.
        count: how many.
    """
    return {"dish": dish, "size": size, "count": count}


def tool_of(function: Function, limit_s: float = 5.0, threads: ToolThreads | None = None) -> CallTool:
    return function_tool(function, limit_s=limit_s, threads=threads or ToolThreads())


async def run(tool: CallTool, **arguments: object) -> Any:
    return json.loads(await tool.run(arguments))


def test_the_schema_comes_from_signature_and_docstring() -> None:
    made = tool_of(order).tool
    assert made.name == "order"
    assert made.description == "Order a dish from the kitchen."
    properties = made.parameters["properties"]
    assert properties["dish"] == {"description": "what to cook.", "type": "string"}
    assert properties["size"]["enum"] == ["small", "large"]
    assert properties["count"]["default"] == 1
    assert made.parameters["required"] == ["dish"]
    assert made.parameters["additionalProperties"] is False
    json.dumps(made.parameters)


async def test_a_result_is_json() -> None:
    assert await run(tool_of(order), dish="soup") == {"dish": "soup", "size": "small", "count": 1}


async def test_wrong_arguments_are_told_to_the_model() -> None:
    for arguments, named in (
        ({}, "dish"),
        ({"dish": "soup", "size": "huge"}, "size"),
        ({"dish": "soup", "price": 3}, "price"),
    ):
        assert (await run(tool_of(order), **arguments))["error"].startswith(f"{named}: ")


async def test_a_failing_tool_answers_without_its_secrets() -> None:
    def break_down() -> None:
        raise RuntimeError("password 1234")

    assert await run(tool_of(break_down)) == {"error": "break_down failed"}


async def test_a_refusal_is_for_the_model() -> None:
    def refuse() -> None:
        raise ToolRefusal("closed on mondays")

    assert await run(tool_of(refuse)) == {"error": "closed on mondays"}


async def test_a_result_that_is_not_json_is_a_failure() -> None:
    def odd() -> object:
        return object()

    assert await run(tool_of(odd)) == {"error": "odd failed"}


async def test_a_tool_that_takes_too_long_is_given_up() -> None:
    async def wait_for_ever() -> None:
        await asyncio.Event().wait()

    assert await run(tool_of(wait_for_ever, limit_s=0.01)) == {"error": "wait_for_ever took too long"}


async def test_a_plain_function_may_block_without_blocking_the_loop() -> None:
    released = threading.Event()

    def block() -> bool:
        return released.wait(timeout=10)

    running = asyncio.ensure_future(run(tool_of(block)))
    await asyncio.sleep(0)
    released.set()  # reached only because the loop goes on
    assert await running is True


async def test_cancelling_reaches_an_async_tool() -> None:
    entered, cancelled = asyncio.Event(), asyncio.Event()

    async def wait_for_ever() -> None:
        entered.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    running = asyncio.ensure_future(run(tool_of(wait_for_ever)))
    await entered.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert cancelled.is_set()


@pytest.fixture
def tools() -> dict[str, CallTool]:
    return {tool.tool.name: tool for tool in Toolbox(AgentConfig().tools, ToolsConfig()).for_call()}


async def test_current_time_in_a_zone(tools: dict[str, CallTool]) -> None:
    now = await run(tools["current_time"], zone="Asia/Tokyo")
    assert now["zone"] == "Asia/Tokyo"
    assert set(now) == {"time", "date", "weekday", "zone"}
    assert "error" not in await run(tools["current_time"])


async def test_current_time_in_no_zone(tools: dict[str, CallTool]) -> None:
    for zone in ("Middle/Earth", "../etc/passwd", "\0"):
        assert "IANA" in (await run(tools["current_time"], zone=zone))["error"]


async def test_book_table(tools: dict[str, CallTool]) -> None:
    table = {"day": "friday", "time": "19:30", "people": 4}
    first = await run(tools["book_table"], **table)
    assert first["status"] == "booked"
    assert await run(tools["book_table"], **table) == first
    assert await run(tools["book_table"], **{**table, "people": 2}) != first
    assert "people" in (await run(tools["book_table"], **{**table, "people": 13}))["error"]


async def test_bookings_stay_in_their_call(tools: dict[str, CallTool]) -> None:
    other = {tool.tool.name: tool for tool in Toolbox(AgentConfig().tools, ToolsConfig()).for_call()}
    await run(other["book_table"], day="monday", time="12:00", people=2)
    booked = await run(tools["book_table"], day="friday", time="19:30", people=4)
    assert booked["reference"] == "table 1"


def test_only_end_call_ends_the_call(tools: dict[str, CallTool]) -> None:
    assert {name for name, tool in tools.items() if tool.ends_call} == {"end_call"}


def test_only_what_has_an_effect_finishes_when_it_is_interrupted(tools: dict[str, CallTool]) -> None:
    assert {name for name, tool in tools.items() if tool.on_interruption == "finish"} == {"book_table"}


async def test_a_declaration_beats_the_settings() -> None:
    @tool(limit_s=0.01, on_interruption="finish", ends_call=True)
    async def wait_for_ever() -> None:
        await asyncio.Event().wait()

    made = tool_of(wait_for_ever, limit_s=60)
    assert (made.on_interruption, made.ends_call) == ("finish", True)
    assert await run(made) == {"error": "wait_for_ever took too long"}


async def test_tools_that_do_not_return_take_no_more_than_their_threads() -> None:
    released = threading.Event()

    def block() -> bool:
        return released.wait(timeout=10)

    stuck = tool_of(block, limit_s=0.01, threads=ToolThreads(limit=1))
    assert await run(stuck) == {"error": "block took too long"}
    assert await run(stuck) == {"error": "block is not available now"}
    released.set()
    answers: list[object] = []
    for _ in range(1000):  # until the thread has told the loop that it is done
        await asyncio.sleep(0.001)
        answers.append(await run(stuck))
        if answers[-1] is True:
            break
    assert answers[-1] is True


async def test_a_stuck_tool_does_not_keep_the_process_alive() -> None:
    program = (
        "import asyncio, threading\n"
        "from agent.tools.threads import ToolThreads\n"
        "async def main():\n"
        "    async with asyncio.timeout(0.01):\n"
        "        await ToolThreads().run(threading.Event().wait)\n"
        "try:\n    asyncio.run(main())\nexcept TimeoutError:\n    print('done')\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[3]
    )
    out, _ = await asyncio.wait_for(process.communicate(), 30)
    assert (out.decode().strip(), process.returncode) == ("done", 0)
