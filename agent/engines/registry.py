"""Which engines there are: the rows that installed distributions offer, ours among them, by part and kind."""

import logging
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel

from agent.engines.spec import AnySpec, EngineSpec
from agent.errors import ConfigError
from agent.extras import PROJECT
from agent.settings.config import PARTS, EngineConfig, Part, Settings, settings_model

ENTRY_POINTS = "parley.engines"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Registry:
    """The engines of this process."""

    specs: Sequence[AnySpec]
    broken: Sequence[str] = ()  # a line for each entry point that cannot be used

    def of(self, part: Part) -> Mapping[str, AnySpec]:
        """The engines of a part by their kind, in its order."""
        return {spec.kind: spec for spec in self.specs if spec.part == part}

    def spec(self, part: Part, config: EngineConfig) -> AnySpec:
        """The row of a configured engine."""
        return self.of(part)[config.kind]

    @cached_property
    def settings(self) -> type[Settings]:
        """The model that validates the settings of these engines."""

        def configs(part: Part) -> Sequence[type[BaseModel]]:
            return [spec.config for spec in self.of(part).values()]

        return settings_model(configs)

    def with_checkpoints(self, values: Mapping[str, Any], models: Path) -> dict[str, Any]:
        """The settings, in which every engine that names no checkpoint reads its release among the models."""
        completed = {part: self._with_checkpoint(part, value, models) for part, value in values.items()}
        fallback = completed.get("fallback")
        if isinstance(fallback, dict):
            completed["fallback"] = {
                part: [self._with_checkpoint(part, engine, models) for engine in cast(list[object], engines)]
                if isinstance(engines, list)
                else engines
                for part, engines in cast(dict[str, object], fallback).items()
            }
        return completed

    def _with_checkpoint(self, part: str, engine: object, models: Path) -> object:
        """What was said of an engine of this part, whatever that is, with its checkpoint."""
        if not isinstance(engine, dict):
            return engine
        said = cast(dict[str, Any], engine)
        for spec in self.specs:
            if spec.release and (spec.part, spec.kind) == (part, said.get("kind")):
                return {"checkpoint": spec.release.folder(models), **said}
        return said


@cache
def installed_engines() -> Registry:
    """The engines of all installed distributions, read once.

    Raises:
        ConfigError: two engines of one part bear the same name.
    """
    return read_registry(find_entry_points())


def find_entry_points() -> Sequence[EntryPoint]:
    """Our own, then those of other distributions.

    A checkout declares ours in its pyproject.toml: what is installed for it may be older than it, or missing.
    """
    installed = entry_points(group=ENTRY_POINTS)
    if not PROJECT.exists():
        return tuple(installed)
    project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
    own = [EntryPoint(name, value, ENTRY_POINTS) for name, value in project["entry-points"][ENTRY_POINTS].items()]
    return (*own, *(point for point in installed if point.dist is None or point.dist.name != project["name"]))


def read_registry(points: Iterable[EntryPoint]) -> Registry:
    """The rows behind these entry points; one that cannot be used costs a warning, no more.

    Raises:
        ConfigError: two engines of one part bear the same name.
    """
    specs: dict[tuple[Part, str], AnySpec] = {}
    origins: dict[tuple[Part, str], str] = {}
    broken: list[str] = []
    for point in points:
        origin = point.dist.name if point.dist else "parley-voice"
        try:
            spec = _load(point)
        except (Exception, SystemExit) as error:  # importing runs the author's code, which may do anything
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            broken.append(f"engine {point.name} of {origin} cannot be used ({reason}); fix or uninstall {origin}")
            _log.warning("%s", broken[-1])
            continue
        key = spec.part, spec.kind
        if key in specs:
            raise ConfigError(
                [f"{spec.part}: two engines are called {spec.kind}, of {origins[key]} and {origin}; uninstall one"]
            )
        specs[key], origins[key] = spec, origin
    in_order = sorted(specs.values(), key=lambda spec: (PARTS.index(spec.part), spec.kind))
    return Registry(tuple(in_order), tuple(broken))


def _load(point: EntryPoint) -> AnySpec:
    found: object = point.load()
    if not isinstance(found, EngineSpec):
        raise TypeError(f"wanted an EngineSpec, found {type(found).__name__}")
    return cast(AnySpec, found)
