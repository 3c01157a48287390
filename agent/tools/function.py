"""Plain typed functions as tools of the language model: schema from the signature, checked, bounded in time."""

import asyncio
import inspect
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeVar, cast, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from agent.tools.threads import ToolThreads, TooManyThreads
from llm.interface import Tool
from pipelines.replying.tool_runs import CallTool

DEFAULT_LIMIT_S = 5.0

_log = logging.getLogger(__name__)

Function = Callable[..., object] | Callable[..., Awaitable[object]]


F = TypeVar("F", bound=Function)

_DECLARATION = "__parley_tool__"


@dataclass(frozen=True, slots=True)
class Declaration:
    """What a function says of itself as a tool."""

    limit_s: float | None = None
    on_interruption: Literal["cancel", "finish"] = "cancel"
    ends_call: bool = False


def tool(
    *,
    limit_s: float | None = None,
    on_interruption: Literal["cancel", "finish"] = "cancel",
    ends_call: bool = False,
) -> Callable[[F], F]:
    """Declare how a function behaves as a tool; one without this is a tool, too.

    Args:
        limit_s: a run that takes longer has failed; None leaves it to the settings.
        on_interruption: what becomes of a run when the caller speaks into it. Whatever has an effect should finish. A
            function that is not a coroutine runs on in its thread either way; "cancel" only drops its result.
        ends_call: whether the call is over once the reply that follows has been heard.
    """

    def declare(function: F) -> F:
        setattr(function, _DECLARATION, Declaration(limit_s, on_interruption, ends_call))
        return function

    return declare


def function_tool(function: Function, *, limit_s: float = DEFAULT_LIMIT_S, threads: ToolThreads) -> CallTool:
    """The tool that runs `function`.

    Name and description are the function's name and docstring; a line `name: text` under `Args:` describes an argument.
    A coroutine function runs on the event loop, any other in a thread, so that it may block. The result is JSON; a
    failure is a result too, `{"error": ...}`, because the model can do better than fall silent.

    Args:
        function: annotated parameters that pydantic understands, JSON-serialisable result.
        limit_s: longest run if its declaration says nothing.
        threads: where functions run that may block.

    Raises:
        TypeError, NameError: parameters without annotations, or with ones that cannot be resolved.
    """
    declared: Declaration = getattr(function, _DECLARATION, Declaration())
    limit_s = declared.limit_s or limit_s
    name = cast(str, getattr(function, "__name__", "tool"))
    arguments_model = _arguments_model(name, function)
    tool = Tool(name, _summary(function), _without_titles(arguments_model.model_json_schema()))

    async def run(arguments: Mapping[str, Any]) -> str:
        try:
            checked = arguments_model.model_validate(dict(arguments))
            keywords = {key: getattr(checked, key) for key in arguments_model.model_fields}
            async with asyncio.timeout(limit_s):
                result = await _run(function, keywords, threads)
            return json.dumps(result, ensure_ascii=False)
        except ValidationError as error:
            return _failure("; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()))
        except TimeoutError:
            _log.warning("tool %s took longer than %.1f s", name, limit_s)
            return _failure(f"{name} took too long")
        except ToolRefusal as error:
            return _failure(str(error))
        except TooManyThreads:
            _log.error("tool %s was not run: too many tools do not return", name)
            return _failure(f"{name} is not available now")
        except Exception:
            # Whatever the function raises costs its caller this one answer, never the call.
            _log.exception("tool %s failed", name)
            return _failure(f"{name} failed")

    return CallTool(tool, run, ends_call=declared.ends_call, on_interruption=declared.on_interruption)


class ToolRefusal(Exception):
    """Raised by a tool that cannot do what it was asked; the message is for the model."""


async def _run(function: Function, keywords: Mapping[str, Any], threads: ToolThreads) -> object:
    if inspect.iscoroutinefunction(function):
        return await function(**keywords)
    return await threads.run(partial(function, **keywords))


def _failure(message: str) -> str:
    return json.dumps({"error": message}, ensure_ascii=False)


def _arguments_model(name: str, function: Function) -> type[BaseModel]:
    hints = get_type_hints(function, include_extras=True)
    descriptions = _argument_descriptions(function)
    fields: dict[str, Any] = {}
    for parameter in inspect.signature(function).parameters.values():
        if parameter.name not in hints or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise TypeError(f"parameter {parameter.name} of {name} has no type, or takes any number of values")
        default = ... if parameter.default is inspect.Parameter.empty else parameter.default
        fields[parameter.name] = (
            hints[parameter.name],
            Field(default, description=descriptions.get(parameter.name)),
        )
    return create_model(name, __config__=ConfigDict(extra="forbid"), **fields)


def _without_titles(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema without the titles that pydantic makes up; they only cost the model's attention."""
    properties: dict[str, dict[str, Any]] = schema.get("properties", {})
    for part in (schema, *properties.values()):
        part.pop("title", None)
    return schema


def _summary(function: Function) -> str:
    return " ".join((inspect.getdoc(function) or "").split("Args:")[0].split())


def _argument_descriptions(function: Function) -> dict[str, str]:
    _, _, arguments = (inspect.getdoc(function) or "").partition("Args:")
    lines = (line.strip().partition(": ") for line in arguments.splitlines())
    return {name: text for name, _, text in lines if text}
