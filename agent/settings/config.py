"""Every setting of Parley as one frozen model, composed from the models of the floors. layers.py reads them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, Union, get_args, runtime_checkable

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveFloat, PositiveInt, create_model

from agent.settings.engine_server import EngineServerConfig
from agent.settings.profiles import AUTO, PROFILES
from agent.tools.config import ToolsConfig
from pipelines.config import AgentConfig, CallConfig
from webrtc.config import WebRTCConfig

DEFAULT_PORT = 7860  # where Pipecat's own web and phone clients look by default
DEFAULT_MODELS = "~/.local/share/parley/models"

Part = Literal["asr", "llm", "tts"]
PARTS: tuple[Part, ...] = get_args(Part)


@runtime_checkable
class EngineConfig(Protocol):
    """The settings of one engine, whoever wrote it: a frozen pydantic model with a literal `kind` that names it."""

    @property
    def kind(self) -> str:
        """Its name among the engines of its part."""
        ...


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
    A remote engine with a fallback fails over at once with `retry_limit_s = 0`; otherwise it tries again first.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    asr: tuple[EngineConfig, ...] = Field(
        default=(), description="ASR engines that take over; they are started with the others."
    )
    llm: tuple[EngineConfig, ...] = Field(default=(), description="LLM engines that take over.")
    tts: tuple[EngineConfig, ...] = Field(default=(), description="TTS engines that take over.")


class Settings(BaseModel):
    """All settings of one process."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    profile: str = Field(default=AUTO, description=f"Which engines: {', '.join((AUTO, *PROFILES))}.")
    models: Path = Field(
        default=Path(DEFAULT_MODELS),
        description="Folder of the downloaded checkpoints, each in one of its own (`parley download`).",
    )
    server: ServerConfig = Field(default=ServerConfig(), description="Where the server listens.")
    admission: AdmissionConfig = Field(default=AdmissionConfig(), description="When a call is refused.")
    webrtc: WebRTCConfig = Field(default=WebRTCConfig(), description="Transport: signalling, media, limits.")
    agent: AgentConfig = Field(default=AgentConfig(), description="Who answers: name, words, tools, voice, languages.")
    call: CallConfig = Field(default=CallConfig(), description="How a call is held: turns, barge-in, speech.")
    tools: ToolsConfig = Field(default=ToolsConfig(), description="What tools may take and reach.")
    engine_server: EngineServerConfig = Field(
        default=EngineServerConfig(), description="The engines over the network (`parley engine`)."
    )
    asr: EngineConfig = Field(description="Speech recognition.")
    llm: EngineConfig = Field(description="The language model.")
    tts: EngineConfig = Field(description="Speech synthesis.")
    fallback: FallbackConfig = Field(default=FallbackConfig(), description="Engines for when one of these fails.")

    def chain(self, part: Part) -> Sequence[EngineConfig]:
        """The engine chosen for this part, then those that take over from it."""
        chains = {
            "asr": (self.asr, *self.fallback.asr),
            "llm": (self.llm, *self.fallback.llm),
            "tts": (self.tts, *self.fallback.tts),
        }
        return chains[part]


def settings_model(configs: Callable[[Part], Sequence[type[BaseModel]]]) -> type[Settings]:
    """The model that validates the settings of exactly these engines, chosen by their `kind`.

    Args:
        configs: the models of a part's engines, two at least.
    """
    unions: dict[str, Any] = {
        part: Annotated[Union[tuple(configs(part))], Field(discriminator="kind")]  # noqa: UP007  # of a run-time tuple
        for part in PARTS
    }
    takes_over: dict[str, Any] = {
        part: (tuple[union, ...], _like(FallbackConfig, part)) for part, union in unions.items()
    }
    fallback = create_model("FallbackConfig", __base__=FallbackConfig, __doc__=FallbackConfig.__doc__, **takes_over)
    chosen: dict[str, Any] = {part: (union, _like(Settings, part)) for part, union in unions.items()}
    chosen["fallback"] = (
        fallback,
        Field(default=fallback(), description=Settings.model_fields["fallback"].description),
    )
    return create_model("Settings", __base__=Settings, __doc__=Settings.__doc__, **chosen)


def _like(model: type[BaseModel], name: str) -> Any:
    """A field with the default and the description of this one."""
    field = model.model_fields[name]
    return Field(default=field.default, description=field.description)
