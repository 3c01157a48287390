"""One clear line for each setting that cannot be used: where it stands, its name, what was wanted, found and to do."""

import difflib
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Union, cast, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from agent.settings.moved import MOVED

_SECRET_WORDS = ("secret", "token", "password", "credential", "api_key")


def explain(
    error: ValidationError,
    model: type[BaseModel],
    values: Mapping[str, Any],
    layers: Sequence[tuple[str, Mapping[str, Any]]],
) -> list[str]:
    """A line for each problem that pydantic found.

    Args:
        error: what `model` raised for `values`.
        model: the model of all settings.
        values: the merged settings.
        layers: the places they came from with what each said, strongest first.
    """
    lines: list[str] = []
    for problem in error.errors(include_url=False):
        path = _path(problem["loc"], values)
        if problem["type"] in ("union_tag_invalid", "union_tag_not_found"):
            path.append("kind")
        source = next((name for name, layer in layers if _has(layer, path)), "settings")
        lines.append(f"{source}: {_name(source, path)}: {_problem(problem, path, model, values)}")
    return lines


def _problem(problem: ErrorDetails, path: Sequence[str], model: type[BaseModel], values: Mapping[str, Any]) -> str:
    parent = _model_at(model, path[:-1], values)
    context = problem.get("ctx", {})
    match problem["type"]:
        case "extra_forbidden":
            if new := MOVED.get(".".join(path)):
                return f"is now {new}"
            known = sorted(parent.model_fields) if parent else []
            near = difflib.get_close_matches(path[-1], known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
            return f"no such setting; {hint}"
        case "missing":
            field = parent.model_fields.get(path[-1]) if parent else None
            return f"missing; add it: {field.description if field else ''}".rstrip(": ")
        case "union_tag_invalid":
            return f"wanted one of {context['expected_tags']}, found {context['tag']!r}; choose one of these"
        case "union_tag_not_found":
            return "missing; add it: it says which engine this is"
        case "model_type" | "model_attributes_type":
            wanted = "a table"
        case _:
            wanted = problem["msg"].removeprefix("Input should be ").removeprefix("Value error, ").rstrip(".")
    is_secret = any(word in path[-1] for word in _SECRET_WORDS)
    found = "a value that is not shown" if is_secret else _show(problem["input"])
    return f"wanted {wanted}, found {found}; {_advice(parent, path[-1])}"


def _show(found: object) -> str:
    """A table by its keys alone: its values may be secret."""
    if isinstance(found, Mapping):
        return f"a table of {', '.join(map(str, cast(Mapping[str, Any], found))) or 'nothing'}"
    return repr(found)


def _advice(parent: type[BaseModel] | None, name: str) -> str:
    field = parent.model_fields.get(name) if parent else None
    if field is None or field.is_required() or isinstance(field.default, BaseModel):
        return "correct it"
    return f"correct it, or remove it for the default {field.default!r}"


def _name(source: str, path: Sequence[str]) -> str:
    return "PARLEY_" + "__".join(path).upper() if source == "environment" else ".".join(path)


def _path(loc: Sequence[int | str], values: Mapping[str, Any]) -> list[str]:
    """The place of an error as the user wrote it, without the `kind` that pydantic adds for a tagged union."""
    path: list[str] = []
    table = values
    for part in map(str, loc):
        if part == table.get("kind") and part not in table:
            continue
        path.append(part)
        table = _table(table.get(part))
    return path


def _has(layer: Mapping[str, Any], path: Sequence[str]) -> bool:
    """Whether the layer says something at `path`; `server = 3` says something of everything below."""
    at: object = layer
    for part in path:
        if not isinstance(at, Mapping):
            return True
        table = _table(cast(object, at))
        if part not in table:
            return False
        at = table[part]
    return True


def _model_at(annotation: object, path: Sequence[str], values: Mapping[str, Any]) -> type[BaseModel] | None:
    """The model of the table at `path` below `annotation`, of a tagged union the one of the kind `values` names."""
    below = _table(values.get(path[0]) if path else None)
    if items := _items_of(annotation):
        return _model_at(items, path[1:], below) if path else None
    members = list(_models(annotation))
    if len(members) > 1:
        members = [member for member in members if member.model_fields["kind"].default == values.get("kind")]
    if not members:
        return None
    if not path:
        return members[0]
    field = members[0].model_fields.get(path[0])
    return _model_at(field.annotation, path[1:], below) if field else None


def _table(value: object) -> Mapping[str, Any]:
    """A table as it is, a list by its indices, else nothing."""
    if isinstance(value, list | tuple):
        return {str(index): item for index, item in enumerate(cast(Sequence[Any], value))}
    return cast(Mapping[str, Any], value) if isinstance(value, Mapping) else {}


def _items_of(annotation: object) -> object:
    """What the values are, if this is a list or a table whose keys are names of the user's; else None."""
    arguments = get_args(annotation)
    if get_origin(annotation) is tuple:
        return arguments[0]
    return arguments[-1] if get_origin(annotation) is Mapping else None


def table_of(annotation: object) -> type[BaseModel] | None:
    """The model of the values, if this is a table whose keys are names of the user's; else None."""
    value = get_args(annotation)[-1] if get_origin(annotation) is Mapping else None
    return value if isinstance(value, type) and issubclass(value, BaseModel) else None


def _models(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) in (Union, types.UnionType, Annotated):
        for member in get_args(annotation):
            yield from _models(member)
