"""Settings of one call: who answers (`AgentConfig`), and how the call is held (`CallConfig`)."""

from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from pipelines.turn_taking.config import TurnTakingConfig


class AgentConfig(BaseModel):
    """Who answers: what an agent is called, says, speaks and can do. How turns are taken is not the agent's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(default="Parley", description="Name of the agent, shown on the page.")
    greeting: str = Field(
        default="Hello, this is Parley. Ask me for the time, a sum, a story, or a table for tonight.",
        description="What the agent says first; empty waits for the caller.",
    )
    instructions: str = Field(default="", description="System message of the language model.")
    language: str = Field(default="en", description="BCP 47 tag of the conversation.")
    further_languages: tuple[str, ...] = Field(
        default=(), description="Languages that the caller may change to; the agent's words and voice follow."
    )
    tools: tuple[str, ...] = Field(
        default=("current_time", "book_table", "end_call"),
        description="Tools by name: a built-in one, one that an installed package offers as an entry point of the "
        "group parley.tools, or a function as module:function or path/to/file.py:function.",
    )
    voice: str = Field(default="", description="Name of the voice; empty takes the engine's first for the language.")
    voices: Mapping[str, str] = Field(
        default={}, description='Voices of further languages, such as {fr = "fr_female"}; else the engine\'s first.'
    )

    @property
    def languages(self) -> Sequence[str]:
        """All of them, the one to begin with first."""
        return tuple(dict.fromkeys((self.language, *self.further_languages)))


class VadConfig(BaseModel):
    """What voice activity detection calls speech. Windows are Silero's: 512 samples at 16 kHz, 32 ms."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    speech_probability: float = Field(default=0.5, gt=0, lt=1, description="A window at or above it is speech.")
    silence_probability: float = Field(default=0.35, gt=0, lt=1, description="A window below it is silence.")
    onset_ms: PositiveInt = Field(default=64, description="Speech needed to call it an onset.")
    pause_ms: PositiveInt = Field(default=192, description="Silence needed to call it a pause.")


class SpeechConfig(BaseModel):
    """How the agent's text becomes speech."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    lead_ms: PositiveInt = Field(default=320, description="How far synthesis runs ahead of playout.")
    low_lead_ms: PositiveInt = Field(
        default=120, description="A held utterance goes on below this, so no hole is heard."
    )
    clause_chars: PositiveInt = Field(default=24, description="Shortest clause after the first one.")


class WaitingConfig(BaseModel):
    """What a caller hears while a tool is running."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    filler_after_ms: PositiveInt = Field(
        default=1500, description="After tools have run this long, the caller is told that it takes a moment."
    )
    filler: str = Field(default="One moment, please.", description="What the agent says then; empty says nothing.")


class CallConfig(BaseModel):
    """How a call is held, whoever answers it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    vad: VadConfig = VadConfig()
    turn_taking: TurnTakingConfig = TurnTakingConfig()
    speech: SpeechConfig = SpeechConfig()
    waiting: WaitingConfig = WaitingConfig()
