"""Every setting of Parley, composed from the floors' own models; the only reader of the TOML file and environment.

Later layers win: defaults, the profile, the TOML file, the environment (`PARLEY_SERVER__PORT=8080`), the command line.
"""

import logging
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveFloat, PositiveInt, ValidationError

from agent.engine_server.config import EngineServerConfig
from agent.errors import ConfigError
from agent.settings.errors import explain
from agent.settings.profiles import AUTO, PROFILES, choose, with_checkpoints
from agent.tools.config import ToolsConfig
from asr.config import RecognizerConfig
from llm.config import LanguageModelConfig
from pipelines.config import AgentConfig, CallConfig
from tts.config import SynthesizerConfig
from webrtc.config import WebRTCConfig

DEFAULT_PORT = 7860  # where Pipecat's own web and phone clients look by default
DEFAULT_MODELS = "~/.local/share/parley/models"

_log = logging.getLogger(__name__)

_PLAIN = frozenset(["profile", "models"])  # settings outside any table
_ENV_PREFIX = "PARLEY_"
_ENV_NESTING = "__"


class ServerConfig(BaseModel):
    """Where the server listens."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = Field(default="127.0.0.1", min_length=1, description="Address to listen on; 0.0.0.0 is every one.")
    port: int = Field(default=DEFAULT_PORT, ge=0, le=65_535, description="TCP port of the page; 0 picks a free one.")
    drain_limit_s: NonNegativeFloat = Field(
        default=60.0, description="After SIGTERM, how long the calls in progress may go on."
    )


class AdmissionConfig(BaseModel):
    """When a further call is refused rather than let in to hurt the others."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_calls: PositiveInt = Field(default=12, description="Calls at a time.")
    max_loop_lag_ms: PositiveFloat = Field(
        default=50.0, description="Refuse calls while the event loop runs later than this at its 99th percentile."
    )
    readmit_loop_lag_ms: PositiveFloat = Field(
        default=25.0, description="Once refusing for lag, admit again below this."
    )
    lag_window_s: float = Field(default=10.0, ge=2.0, le=300.0, description="Time over which the lag is judged.")


class FallbackConfig(BaseModel):
    """Engines that take over, in this order, when the chosen one does not start, fails in mid-call or is full.

    They are lists of tables like `[asr]`, `[llm]` and `[tts]`: `[[fallback.tts]]` with a `kind` and its settings.
    A remote engine that has another behind it hands over at once with `retry_limit_s = 0`; else it tries again first.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    asr: tuple[RecognizerConfig, ...] = Field(default=(), description="Ears that take over; they start with the rest.")
    llm: tuple[LanguageModelConfig, ...] = Field(default=(), description="Minds that take over.")
    tts: tuple[SynthesizerConfig, ...] = Field(default=(), description="Mouths that take over.")


class Settings(BaseModel):
    """All settings of one process."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    profile: str = Field(default=AUTO, description=f"Which engines: {', '.join((AUTO, *PROFILES))}.")
    models: Path = Field(
        default=Path(DEFAULT_MODELS),
        description="Folder of the downloaded checkpoints, each in one of its own (`parley download`).",
    )
    server: ServerConfig = Field(default=ServerConfig(), description="Where the server listens.")
    admission: AdmissionConfig = Field(default=AdmissionConfig(), description="When a call is refused.")
    webrtc: WebRTCConfig = Field(default=WebRTCConfig(), description="Transport: signalling, media, limits.")
    agent: AgentConfig = Field(default=AgentConfig(), description="Who answers: name, words, voice, languages.")
    call: CallConfig = Field(default=CallConfig(), description="How a call is held: turns, barge-in, speech.")
    tools: ToolsConfig = Field(default=ToolsConfig(), description="What the agent can do.")
    engine_server: EngineServerConfig = Field(
        default=EngineServerConfig(), description="The engines over the network (`parley engine`)."
    )
    asr: RecognizerConfig = Field(description="The ears.")
    llm: LanguageModelConfig = Field(description="The mind.")
    tts: SynthesizerConfig = Field(description="The mouth.")
    fallback: FallbackConfig = Field(default=FallbackConfig(), description="Engines for when one of these fails.")


@dataclass(frozen=True, slots=True)
class Layer:
    """Settings from one place, not yet validated."""

    name: str  # how an error names the place
    values: Mapping[str, Any]


def load_settings(
    file: Path | None, environment: Mapping[str, str], command_line: Mapping[str, Any] | None = None
) -> Settings:
    """The settings of this process.

    Args:
        file: a TOML file, or None for none.
        environment: usually `os.environ`; names like PARLEY_PROFILE and PARLEY_SERVER__PORT are read.
        command_line: nested values that win over all others.

    Raises:
        ConfigError: one line for each thing that is wrong: where, which setting, what was wanted and found.
    """
    layers = [Layer("command line", command_line or {}), Layer("environment", _from_environment(environment))]
    if file is not None:
        layers.append(Layer(str(file), _from_file(file)))
    models = _models(layers)
    profile, reason = _choose_profile(layers, models, environment)
    layers.append(Layer(f"profile {profile}", {part: {"kind": kind} for part, kind in PROFILES[profile].items()}))
    values = with_checkpoints(_all(layers), models) | {"profile": profile, "models": models}
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        raise ConfigError(explain(error, Settings, values, [(layer.name, layer.values) for layer in layers])) from None
    _log.info("profile %s: %s", profile, reason)
    return settings


def _all(layers: Sequence[Layer]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for layer in reversed(layers):
        values = _merged(values, layer.values)
    return values


def _top(layers: Sequence[Layer], name: str, default: str) -> tuple[str, object]:
    """The strongest layer that has this setting, and what it says."""
    return next(((layer.name, layer.values[name]) for layer in layers if name in layer.values), ("", default))


def _models(layers: Sequence[Layer]) -> Path:
    place, found = _top(layers, "models", DEFAULT_MODELS)
    if not isinstance(found, str):
        raise ConfigError([f"{place}: models: wanted a path, found {found!r}; correct it, or remove it"])
    return Path(found).expanduser()


def _choose_profile(layers: Sequence[Layer], models: Path, environment: Mapping[str, str]) -> tuple[str, str]:
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
            value: object = _parsed(variable, text)
            for section in reversed((*sections, name)):
                value = {section: value}
            values = _merged(values, cast(dict[str, Any], value))
    return values


def _parsed(variable: str, text: str) -> object:
    """Lists and tables in TOML's notation; anything else stays text, which the models convert."""
    if not text.startswith(("[", "{")):
        return text
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        raise ConfigError([f"environment: {variable}: not a valid TOML value: {text}"]) from None


def _merged(lower: Mapping[str, Any], upper: Mapping[str, Any]) -> dict[str, Any]:
    """Both, `upper` winning, tables merged key by key.

    A part that is given another `kind` starts afresh: the settings of the engine it replaces mean nothing to it.
    """
    if "kind" in upper and upper["kind"] != lower.get("kind", upper["kind"]):
        lower = {}
    merged = dict(lower)
    for key, value in upper.items():
        below = merged.get(key)
        if isinstance(value, Mapping) and isinstance(below, Mapping):
            merged[key] = _merged(cast(Mapping[str, Any], below), cast(Mapping[str, Any], value))
        else:
            merged[key] = value
    return merged
