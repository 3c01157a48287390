"""Where settings come from: later layers win. The only reader of the TOML file and of the environment.

Defaults, the profile, the TOML file, the environment (`PARLEY_SERVER__PORT=8080`), the command line.
"""

import logging
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from agent.errors import ConfigError
from agent.settings.config import DEFAULT_MODELS, Settings
from agent.settings.errors import explain
from agent.settings.profiles import AUTO, PROFILES, Choose

_log = logging.getLogger(__name__)

_PLAIN = frozenset(["profile", "models"])  # settings outside any table
_ENV_PREFIX = "PARLEY_"
_ENV_NESTING = "__"

Complete = Callable[[Mapping[str, Any], Path], Mapping[str, Any]]
"""The merged settings with what the folder of the checkpoints adds to them."""


@dataclass(frozen=True, slots=True)
class Layer:
    """Settings from one place, not yet validated."""

    name: str  # how an error names the place
    values: Mapping[str, Any]


def merge_layers(
    file: Path | None,
    environment: Mapping[str, str],
    command_line: Mapping[str, Any],
    *,
    model: type[Settings],
    choose: Choose,
    complete: Complete,
) -> Settings:
    """The settings of this process.

    Args:
        file: a TOML file, or None for none.
        environment: usually `os.environ`; names like PARLEY_PROFILE and PARLEY_SERVER__PORT are read.
        command_line: nested values that win over all others.
        model: validates them.
        choose: finds the profile that `auto` stands for.
        complete: adds what depends on the folder of the checkpoints.

    Raises:
        ConfigError: one line for each thing that is wrong: where, which setting, what was wanted and found.
    """
    layers = [Layer("command line", command_line), Layer("environment", _from_environment(environment))]
    if file is not None:
        layers.append(Layer(str(file), _from_file(file)))
    models = _models(layers)
    profile, reason = _choose_profile(layers, models, environment, choose)
    layers.append(Layer(f"profile {profile}", {part: {"kind": kind} for part, kind in PROFILES[profile].items()}))
    values = {**complete(_all(layers), models), "profile": profile, "models": models}
    try:
        settings = model.model_validate(values)
    except ValidationError as error:
        raise ConfigError(explain(error, model, values, [(layer.name, layer.values) for layer in layers])) from None
    _log.info("profile %s: %s", profile, reason)
    return settings


def _all(layers: Sequence[Layer]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for layer in reversed(layers):
        values = _merge(values, layer.values)
    return values


def _top(layers: Sequence[Layer], name: str, default: str) -> tuple[str, object]:
    """The strongest layer that has this setting, and what it says."""
    return next(((layer.name, layer.values[name]) for layer in layers if name in layer.values), ("", default))


def _models(layers: Sequence[Layer]) -> Path:
    place, found = _top(layers, "models", DEFAULT_MODELS)
    if not isinstance(found, str):
        raise ConfigError([f"{place}: models: wanted a path, found {found!r}; correct it, or remove it"])
    return Path(found).expanduser()


def _choose_profile(
    layers: Sequence[Layer], models: Path, environment: Mapping[str, str], choose: Choose
) -> tuple[str, str]:
    """The profile and why it is this one."""
    place, found = _top(layers, "profile", AUTO)
    if found == AUTO:
        choice = choose(models, environment)
        return choice.profile, choice.reason
    if not isinstance(found, str) or found not in PROFILES:
        known = ", ".join((AUTO, *PROFILES))
        raise ConfigError([f"{place}: profile: wanted one of {known}, found {found!r}; choose one of these"])
    return found, f"chosen by {place}"


def _from_file(file: Path) -> Mapping[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError([f"{file}: no such file; name an existing one, or leave --config out"]) from None
    except OSError as error:
        raise ConfigError([f"{file}: cannot be read ({error.strerror}); check that it is a readable file"]) from None
    except UnicodeDecodeError:
        raise ConfigError([f"{file}: wanted UTF-8 text; save it in that encoding"]) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([f"{file}: not valid TOML: {error}"]) from None


def _from_environment(environment: Mapping[str, str]) -> Mapping[str, Any]:
    """Nested values of the variables that are settings.

    Names without a double underscore are left alone, but for those of `_PLAIN`: a Kubernetes service called "parley"
    puts PARLEY_PORT, PARLEY_SERVICE_HOST and more into every container, which have nothing to do with us.
    """
    values: dict[str, Any] = {}
    for variable, text in sorted(environment.items()):
        if not variable.startswith(_ENV_PREFIX):
            continue
        *sections, name = variable.removeprefix(_ENV_PREFIX).lower().split(_ENV_NESTING)
        if sections or name in _PLAIN:
            value: object = _parse(variable, text)
            for section in reversed((*sections, name)):
                value = {section: value}
            values = _merge(values, cast(dict[str, Any], value))
    return values


def _parse(variable: str, text: str) -> object:
    """Lists and tables in TOML's notation; anything else stays text, which the models convert."""
    if not text.startswith(("[", "{")):
        return text
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        raise ConfigError([f"environment: {variable}: not a valid TOML value: {text}"]) from None


def _merge(lower: Mapping[str, Any], upper: Mapping[str, Any]) -> dict[str, Any]:
    """Both, `upper` winning, tables merged key by key.

    A part that is given another `kind` starts from its defaults: settings of the engine it replaces mean nothing to it.
    """
    if "kind" in upper and upper["kind"] != lower.get("kind", upper["kind"]):
        lower = {}
    merged = dict(lower)
    for key, value in upper.items():
        below = merged.get(key)
        if isinstance(value, Mapping) and isinstance(below, Mapping):
            merged[key] = _merge(cast(Mapping[str, Any], below), cast(Mapping[str, Any], value))
        else:
            merged[key] = value
    return merged
