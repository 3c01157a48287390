"""Finds a tool by the name that the settings give it: built-in, offered by an installed package, or a function."""

import difflib
import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from agent.errors import ToolUnavailable
from agent.tools.builtin import BUILT_IN
from agent.tools.function import Function

T = TypeVar("T")

ENTRY_POINTS = "parley.tools"

Source = Callable[[], Function]
"""Makes the function for one call."""


def source_of(name: str) -> Source:
    """What makes the tool of this name.

    Args:
        name: a built-in tool, an entry point of the group parley.tools, module:function, or file.py:function.

    Raises:
        ToolUnavailable: there is no such tool, or it cannot be imported.
    """
    if name in BUILT_IN:
        return BUILT_IN[name]
    place, colon, attribute = name.rpartition(":")
    function = _function(name, place, attribute) if colon else _entry_point(name)
    return lambda: function


def _entry_point(name: str) -> Function:
    offered = {point.name: point for point in entry_points(group=ENTRY_POINTS)}
    if name not in offered:
        known = [*BUILT_IN, *offered]
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}; or name module:function"
        raise ToolUnavailable(f"agent.tools: no tool {name}; {hint}")
    return _check(name, _import(name, offered[name].load))


def _function(name: str, place: str, attribute: str) -> Function:
    is_file = place.endswith(".py")
    module = _import(name, lambda: _from_file(Path(place)) if is_file else importlib.import_module(place))
    contents: Mapping[str, object] = vars(module)
    if attribute not in contents:
        raise ToolUnavailable(f"agent.tools: {place} has no {attribute}; correct the name after the colon")
    return _check(name, contents[attribute])


def _from_file(path: Path) -> ModuleType:
    name = f"parley_tools_of_{path.stem}"  # no module of ours or of anybody's
    spec = importlib.util.spec_from_file_location(name, path.expanduser())
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


def _import(name: str, load: Callable[[], T]) -> T:
    try:
        return load()
    except Exception as error:  # importing runs the author's code, which may do anything
        raise ToolUnavailable(
            f"agent.tools: {name} cannot be imported ({type(error).__name__}: {error}); fix it, or remove it"
        ) from error


def _check(name: str, found: object) -> Function:
    if not callable(found):
        raise ToolUnavailable(f"agent.tools: {name} is {type(found).__name__}, wanted a function; correct the name")
    return found
