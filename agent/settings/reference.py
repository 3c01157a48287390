"""Every setting with its default and meaning, as a page of Markdown."""

import json
import types
from collections.abc import Iterator, Mapping
from inspect import cleandoc
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from agent.settings.errors import table_of

_HEAD = """\
# Settings

Settings are read from a TOML file (`parley serve --config FILE`) and from the environment, which wins over the file;
options of the command line win over both. `server.port` is `port` in the table `[server]` of the file, and
`PARLEY_SERVER__PORT` in the environment. Lists are written as in TOML in both places.

A profile chooses the three engines, and `kind` chooses one on its own. `parley settings` prints this page."""


def settings_page(model: type[BaseModel]) -> str:
    """The page of this model, ending with a newline."""
    return "\n".join([_HEAD, *_sections(model), ""])


def _sections(model: type[BaseModel]) -> Iterator[str]:
    plain = {name: field for name, field in model.model_fields.items() if not list(models_of(field.annotation))}
    yield from _table("", plain)
    for part, field in model.model_fields.items():
        members = list(models_of(field.annotation))
        for member in members:
            kind = member.model_fields.get("kind")
            yield f"\n## `{part}`" + (f", kind `{kind.default}`" if kind else "")
            yield f"\n{cleandoc(member.__doc__ or '')}"
            yield from _table(f"{part}.", dict(_leaves(member)))


def _leaves(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    for name, field in model.model_fields.items():
        members = list(models_of(field.annotation))
        for member in members:
            yield from _leaves(member, f"{prefix}{name}.")
        if named := table_of(field.annotation):
            yield from _leaves(named, f"{prefix}{name}.NAME.")
            continue
        if not members and name != "kind":
            yield prefix + name, field


def _table(prefix: str, fields: Mapping[str, FieldInfo]) -> Iterator[str]:
    if fields:
        yield "\n| setting | default | meaning |\n| --- | --- | --- |"
    for name, field in fields.items():
        yield f"| `{prefix}{name}` | {_default(field)} | {field.description or ''} |"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value: Any = field.get_default(call_default_factory=True)
    if value is None or value in ("", (), {}) or isinstance(value, SecretStr):
        return ""
    return f"`{toml_value(value)}`"


def toml_value(value: object) -> str:
    """The value as TOML writes it, but text without its quotes."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return json.dumps(value)
    return str(value)


def models_of(annotation: object) -> Iterator[type[BaseModel]]:
    """The models that a setting may be: one for a table, several for a tagged union, none for a plain value."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) in (Union, types.UnionType, Annotated):
        for member in get_args(annotation):
            yield from models_of(member)
