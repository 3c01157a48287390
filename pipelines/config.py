"""Settings of one call: who answers, how turns end, when a caller's voice is a barge-in, how far speech runs ahead."""

from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ConfigDict, Field, PositiveInt


class VoiceConfig(BaseModel):
    """What counts as voice. Windows are Silero's: 512 samples at 16 kHz, 32 ms."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    speech_probability: float = Field(default=0.5, gt=0, lt=1, description="A window at or above it is speech.")
    silence_probability: float = Field(default=0.35, gt=0, lt=1, description="A window below it is silence.")
    onset_ms: PositiveInt = Field(default=64, description="Speech needed to call it voice.")
    pause_ms: PositiveInt = Field(default=192, description="Silence needed to call it a pause.")


class TurnConfig(BaseModel):
    """How long a silence ends the caller's turn, counted from the last speech window."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    complete_ms: PositiveInt = Field(default=256, description="When words and melody both say the thought is complete.")
    likely_ms: PositiveInt = Field(default=448, description="When only the words say so, or nobody knows.")
    incomplete_ms: PositiveInt = Field(default=1400, description="When the words stop in mid-thought.")
    wordless_ms: PositiveInt = Field(
        default=700, description="When no word was recognised: the turn ends without a reply."
    )
    transcript_wait_ms: PositiveInt = Field(default=2000, description="Longest wait for a late final transcript.")
    adaptation: float = Field(
        default=1.25,
        ge=0,
        description="A turn never ends before this multiple of the caller's usual pause in mid-turn.",
    )
    unclear_confidence: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="Words recognised with less were not understood; in a short sound they are noise.",
    )
    draft_reply: bool = Field(
        default=True,
        description="Prepare the reply at the first pause and keep it back until the turn is over. Faster; a model is "
        "asked in vain when the caller goes on.",
    )
    use_smart_turn: bool = Field(default=True, description="Ask Smart Turn about the melody; it is only a hint.")


class BargeInConfig(BaseModel):
    """When the caller's voice over the agent's ducks it, hushes it, cuts it, or is let pass."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    suspect_ms: PositiveInt = Field(default=32, description="Speech that ducks playout and holds the utterance.")
    hiss_ms: PositiveInt = Field(default=64, description="Sound of any kind that does; a click of a key is shorter.")
    blip_ms: PositiveInt = Field(default=32, description="Sound too short to be anything: silence alone resumes.")
    hush_ms: PositiveInt = Field(
        default=192, description="Sound that silences playout, unless hummed or without pitch."
    )
    voiced_ms: PositiveInt = Field(default=64, description="Of that, at least this much has pitch; a breath has none.")
    sustained_ms: PositiveInt = Field(default=608, description="Sound that cuts without words, unless hummed.")
    backchannel_ms: PositiveInt = Field(default=800, description="Humming longer than this cuts.")
    word_ms: PositiveInt = Field(
        default=336, description="Sound too short for a word: words recognised in it are none."
    )
    silence_ms: PositiveInt = Field(default=160, description="Silence after which a blip was nothing.")
    transcript_wait_ms: PositiveInt = Field(default=384, description="Silence that resumes without waiting for words.")
    duck_db: float = Field(default=-15.0, le=0, description="Gain of playout while the agent wonders.")
    ramp_ms: float = Field(default=10.0, gt=0, description="Length of gain ramps and of the fade at a cut.")


class SpeechConfig(BaseModel):
    """How the agent's text becomes speech."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    voice: str = Field(default="", description="Name of the voice; empty takes the engine's first for the language.")
    voices: Mapping[str, str] = Field(
        default={}, description='Voices of further languages, such as {fr = "fr_female"}; else the engine\'s first.'
    )
    lead_ms: PositiveInt = Field(default=320, description="How far synthesis runs ahead of playout.")
    low_lead_ms: PositiveInt = Field(
        default=120, description="A held utterance goes on below this, so no hole is heard."
    )
    clause_chars: PositiveInt = Field(default=24, description="Shortest clause after the first one.")


class WaitingConfig(BaseModel):
    """What a caller hears while a tool is at work."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    filler_after_ms: PositiveInt = Field(
        default=1500, description="Run of the tools after which the caller is told that it takes a moment."
    )
    filler: str = Field(default="One moment, please.", description="What the agent says then; empty says nothing.")


class CallConfig(BaseModel):
    """One call."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    agent_name: str = Field(default="Parley", description="Name of the agent, shown on the page.")
    greeting: str = Field(
        default="Hello, this is Parley. Ask me for the time, a sum, a story, or a table for tonight.",
        description="What the agent says first; empty waits for the caller.",
    )
    instructions: str = Field(default="", description="System message of the language model.")
    language: str = Field(default="en", description="BCP 47 tag of the conversation.")
    further_languages: tuple[str, ...] = Field(
        default=(), description="Languages that the caller may change to; the agent's words and voice follow."
    )
    voice: VoiceConfig = VoiceConfig()
    turns: TurnConfig = TurnConfig()
    barge_in: BargeInConfig = BargeInConfig()
    speech: SpeechConfig = SpeechConfig()
    waiting: WaitingConfig = WaitingConfig()

    @property
    def languages(self) -> Sequence[str]:
        """All of them, the one to begin with first."""
        return tuple(dict.fromkeys((self.language, *self.further_languages)))
