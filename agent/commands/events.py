"""Every event of a call as a page of Markdown: what `parley events` prints and docs/events.md holds."""

import types
from collections.abc import Iterator
from dataclasses import MISSING, fields
from enum import Enum
from inspect import cleandoc
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pipelines.events import CallerEvent, Event
from pipelines.turn_taking.actions import Action
from pipelines.turn_taking.inputs import Input

_HEAD = """\
# Events

What happens in a call is published as events: `pipelines/events.py` has one frozen dataclass for each, `to_json` and
`from_json` write and read them. `t_ms` is the time of the call in ms. An `EventSink`, an object with
`emit(event)`, takes them as they happen: give it to `open_application(..., sinks_of=...)`, as [embedding](embedding.md)
shows. It must return at once.

A caller's page gets those marked with * over the data channel, as RTVI server messages:
`{"type": "parley", "event": TYPE, "t_ms": ..., ...}`.

Texts of the caller and the agent are in `caller_said`, `heard`, `interrupted`, and in the inputs and actions of
`turn_step`: keep them as you keep recordings. `parley events` prints this page.
"""
_STEPS = """\
## Inputs and actions of the turn machine

A `turn_step` has what the machine was told (`said`) and what it wanted done (`actions`). Feeding the inputs of a
recorded call to a machine with the same settings leads to the same actions (`pipelines/replay.py`)."""


def events_page() -> str:
    """The page, ending with a newline."""
    parts = [_HEAD, *_table("event", Event, marked=get_args(CallerEvent)), "", _STEPS]
    parts += ["", *_table("input", Input), "", *_table("action", Action), ""]
    return "\n".join(parts)


def _table(head: str, union: Any, marked: tuple[type[Any], ...] = ()) -> Iterator[str]:
    yield f"| {head} | fields | meaning |\n| --- | --- | --- |"
    for kind in _members(union):
        star = " *" if kind in marked else ""
        meaning = " ".join(cleandoc(kind.__doc__ or "").split())
        yield f"| `{_type_of(kind)}`{star} | {', '.join(_fields(kind))} | {meaning} |"


def _members(union: Any) -> Iterator[type[Any]]:
    for member in get_args(union):
        yield from _members(member) if get_origin(member) in (Union, types.UnionType) else (member,)


def _type_of(kind: type[Any]) -> str:
    return next(str(field.default) for field in fields(kind) if field.name == "type")


def _fields(kind: type[Any]) -> Iterator[str]:
    hints = get_type_hints(kind)
    for field in fields(kind):
        if field.name not in ("type", "t_ms"):
            default = "" if field.default is MISSING else f" = {_value(field.default)}"
            yield f"`{field.name}`: {_name(hints[field.name])}{default}"


def _value(default: Any) -> str:
    return "empty" if default in ("", ()) else str(default).lower() if default in (None, False) else str(default)


def _name(hint: Any) -> str:
    """A type as the page names it."""
    if isinstance(hint, type) and issubclass(hint, Enum):
        return " or ".join(member.value for member in hint)
    origin = get_origin(hint)
    if origin is Annotated:
        return _name(get_args(hint)[0])
    if origin is Literal:
        return " or ".join(map(str, get_args(hint)))
    if origin is tuple:
        return f"list of {_name(get_args(hint)[0])}"
    if origin in (Union, types.UnionType):
        names = [_name(member) for member in get_args(hint)]
        return "an input" if "Window" in names else "actions" if "Duck" in names else " or ".join(names)
    return {"str": "text", "int": "integer", "float": "number", "bool": "true or false", "NoneType": "null"}.get(
        hint.__name__, hint.__name__
    )
