"""Plain typed functions as tools of the language model: schema from the signature, checked, bounded in time."""

import asyncio
import inspect
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, cast, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from llm.interface import Tool
from pipelines.tool_runs import CallTool

DEFAULT_LIMIT_S = 5.0

_log = logging.getLogger(__name__)

Function = Callable[..., object] | Callable[..., Awaitable[object]]


def function_tool(function: Function, *, limit_s: float = DEFAULT_LIMIT_S, ends_call: bool = False) -> CallTool:
    """The tool that runs `function`.

    Name and description are the function's name and docstring; a line `name: text` under `Args:` describes an argument.
    A coroutine function runs on the event loop, any other in a thread, so that it may block. The result is JSON; a
    failure is a result too, `{"error": ...}`, because the model can do better than fall silent.

    Args:
        function: annotated parameters that pydantic understands, JSON-serialisable result.
        limit_s: a run that takes longer has failed. A thread cannot be ended: it runs on, its result unheard.
        ends_call: whether the call is over once the reply that follows has been heard.
    """
    name = cast(str, getattr(function, "__name__", "tool"))
    arguments_model = _arguments_model(name, function)
    tool = Tool(name, _summary(function), _untitled(arguments_model.model_json_schema()))

    async def run(arguments: Mapping[str, Any]) -> str:
        try:
            checked = arguments_model.model_validate(dict(arguments))
            keywords = {key: getattr(checked, key) for key in arguments_model.model_fields}
            async with asyncio.timeout(limit_s):
                result = await _run(function, keywords)
            return json.dumps(result, ensure_ascii=False)
        except ValidationError as error:
            return _failure("; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()))
        except TimeoutError:
            _log.warning("tool %s took longer than %.1f s", name, limit_s)
            return _failure(f"{name} took too long")
        except ToolRefusal as error:
            return _failure(str(error))
        except Exception:
            # Whatever the function raises costs its caller this one answer, never the call.
            _log.exception("tool %s failed", name)
            return _failure(f"{name} failed")

    return CallTool(tool, run, ends_call=ends_call)


class ToolRefusal(Exception):
    """Raised by a tool that cannot do what it was asked; the message is for the model."""


async def _run(function: Function, keywords: Mapping[str, Any]) -> object:
    if inspect.iscoroutinefunction(function):
        return await function(**keywords)
    return await asyncio.to_thread(function, **keywords)


def _failure(message: str) -> str:
    return json.dumps({"error": message}, ensure_ascii=False)


def _arguments_model(name: str, function: Function) -> type[BaseModel]:
    hints = get_type_hints(function, include_extras=True)
    descriptions = _argument_descriptions(function)
    fields: dict[str, Any] = {}
    for parameter in inspect.signature(function).parameters.values():
        default = ... if parameter.default is inspect.Parameter.empty else parameter.default
        fields[parameter.name] = (
            hints[parameter.name],
            Field(default, description=descriptions.get(parameter.name)),
        )
    return create_model(name, __config__=ConfigDict(extra="forbid"), **fields)


def _untitled(schema: dict[str, Any]) -> dict[str, Any]:
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
