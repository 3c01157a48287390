"""The row of one engine: its settings, how it starts, what it needs and what it is called.

Rows are read by everything that must know of engines: settings, `parley doctor`, `parley download`, the page. They
are offered as entry points of the group parley.engines, ours as anybody's, and are light: reading one must not import
the engine.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar, get_args, get_origin

from pydantic import BaseModel

from agent.checkpoints.releases import CheckpointRelease
from agent.engines.resources import Resources
from agent.extras import require_packages
from agent.settings.config import PARTS, Part

Config = TypeVar("Config", bound=BaseModel)
Engine = TypeVar("Engine")

SUGGESTIONS = (
    "What can you do for me?",
    "What time is it?",
    "Explain something surprising about the sea.",
    "Tell me a story.",
    "Goodbye.",
)


@dataclass(frozen=True, slots=True)
class Needs:
    """What an engine, as it is configured, needs of the machine and of others."""

    packages: Mapping[str, str] = field(default_factory=dict[str, str])  # by import name, our extra that brings it
    server: str | None = None  # URL that must answer
    api_key_env: str | None = None  # environment variable that must be set
    checkpoint: Path | None = None  # folder of its weights
    device: str = "cpu"  # cpu, cuda or cuda:1
    device_bytes: int = 0  # of that device's memory, about


def _needs_nothing(_: BaseModel) -> Needs:
    return Needs()


def _kind(config: BaseModel) -> str:
    return type(config).model_fields["kind"].default


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSpec(Generic[Config, Engine]):
    """One engine.

    Attributes:
        part: what it does in a call.
        config: its settings, a frozen model with `kind: Literal["its-name"] = "its-name"`.
        start: makes the engine (a Recognizer, LanguageModel or Synthesizer), ready when the context is entered and
            stopped when it is left. The engine's own module is imported here, never before. Raises EngineUnavailable
            or the error of the part's interface.
        needs: what `parley doctor` checks; missing packages are also refused before the start.
        model: the model's name, as the engine server lists it.
        label: what the page calls the engine.
        release: the checkpoint that it reads if its setting `checkpoint` is not given.
        note: a limit that callers should know of.
        suggestions: what a caller could say to it, for a language model.
    """

    part: Part
    config: type[Config]
    start: Callable[[Config, Resources], AbstractAsyncContextManager[Engine]]
    needs: Callable[[Config], Needs] = _needs_nothing
    model: Callable[[Config], str] = _kind
    label: Callable[[Config], str] = _kind
    release: CheckpointRelease | None = None
    note: str = ""
    suggestions: Sequence[str] = SUGGESTIONS

    def __post_init__(self) -> None:
        """Raises TypeError: a row that settings could not use."""
        if self.part not in PARTS:
            raise TypeError(f"wanted a part of {', '.join(PARTS)}, found {self.part!r}")
        kind = self.config.model_fields.get("kind")
        if kind is None or get_origin(kind.annotation) is not Literal or get_args(kind.annotation) != (kind.default,):
            raise TypeError(f'{self.config.__name__} has no field `kind: Literal["name"] = "name"`')

    @property
    def kind(self) -> str:
        """Its name among the engines of its part."""
        return self.config.model_fields["kind"].default

    def open(self, config: Config, resources: Resources) -> AbstractAsyncContextManager[Engine]:
        """The engine, to be entered.

        Raises:
            EngineUnavailable: a package or a key is missing.
        """
        require_packages(self.needs(config).packages, user=f"{self.part}.kind = {self.kind}")
        return self.start(config, resources)


AnySpec = EngineSpec[Any, Any]
