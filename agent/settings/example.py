"""Every setting as a commented TOML file, to copy and to change: what `parley settings --toml` prints."""

import json
import textwrap
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from agent.settings.errors import table_of
from agent.settings.reference import models_of

_WIDTH = 116
_HEAD = """\
# Every setting of Parley with its meaning and its default. Remove the "#:" from a line to use its setting, and from
# the [table] above it. Three dots stand for a value of yours.
# Use the file by: parley serve --config agent.toml
# The environment wins over the file: PARLEY_SERVER__PORT is `port` in the table [server]."""


def example_page(model: type[BaseModel]) -> str:
    """The file of this model's settings, ending with a newline."""
    return "\n".join([_HEAD, *_table("", model, is_set=True), ""])


def _table(path: str, model: type[BaseModel], *, is_set: bool) -> Iterator[str]:
    """The settings of a table, those that are tables themselves behind the others, as TOML demands.

    Args:
        path: its name.
        model: its settings.
        is_set: whether its head is part of the file; one of several alternatives is a comment as a whole.
    """
    deeper: list[tuple[str, FieldInfo]] = []
    for name, field in model.model_fields.items():
        if list(models_of(field.annotation)) or table_of(field.annotation):
            deeper.append((f"{path}.{name}" if path else name, field))
        elif name != "kind":
            yield from _setting(name, field)
    for place, field in deeper:
        if named := table_of(field.annotation):
            yield from _head(f"{place}.NAME", field.description or "", is_set=False)
            yield from _table(f"{place}.NAME", named, is_set=False)
        for member in models_of(field.annotation):
            kind = member.model_fields.get("kind")
            yield from _head(place, member.__doc__ or "", is_set=is_set and kind is None)
            if kind:
                yield f'#: kind = "{kind.default}"'
            yield from _table(place, member, is_set=is_set and kind is None)


def _head(place: str, meaning: str, *, is_set: bool) -> Iterator[str]:
    yield ""
    yield from _comment(meaning)
    yield f"[{place}]" if is_set else f"#: [{place}]"


def _setting(name: str, field: FieldInfo) -> Iterator[str]:
    yield ""
    yield from _comment(field.description or "")
    yield f"#: {name} = {_value(field)}"


def _comment(text: str) -> Iterator[str]:
    for line in textwrap.wrap(" ".join(text.split()), _WIDTH):
        yield f"# {line}"


def _value(field: FieldInfo) -> str:
    """The default in TOML's notation; what has none, or must be given, as three dots."""
    value: Any = None if field.is_required() else field.get_default(call_default_factory=True)
    if value is None or isinstance(value, SecretStr):
        return "..."
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    if isinstance(value, tuple):
        return json.dumps(value)
    return "{}" if isinstance(value, dict) else json.dumps(str(value), ensure_ascii=False)
