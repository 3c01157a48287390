"""Settings of turn taking: three presets over one table, and single values for experts."""

from collections.abc import Mapping
from typing import Any, Literal, cast, get_args

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator

Preset = Literal["eager", "balanced", "patient"]

# One row a setting, in ms; one column a preset, in the order of `Preset`. Windows of voice detection are 32 ms.
PRESETS: Mapping[str, Mapping[str, tuple[int, int, int]]] = {
    "endpointing": {
        "complete_ms": (256, 256, 384),
        "likely_ms": (352, 448, 704),
        "incomplete_ms": (1000, 1400, 2200),
        "wordless_ms": (700, 700, 1000),
        "transcript_wait_ms": (2000, 2000, 2000),
    },
    "barge_in": {
        "suspect_ms": (32, 32, 64),
        "hiss_ms": (64, 64, 96),
        "blip_ms": (32, 32, 64),
        "mute_ms": (160, 192, 320),
        "voiced_ms": (64, 64, 96),
        "sustained_ms": (448, 608, 992),
        "backchannel_ms": (640, 800, 1216),
        "word_ms": (256, 336, 448),
        "silence_ms": (160, 160, 160),
        "transcript_wait_ms": (384, 384, 512),
    },
}


def _ms(table: str, name: str, description: str) -> Any:
    """A field whose default is the balanced preset's."""
    return Field(default=PRESETS[table][name][get_args(Preset).index("balanced")], description=description)


class EndpointingConfig(BaseModel):
    """How long a silence ends the caller's turn, counted from the last speech window."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    complete_ms: PositiveInt = _ms("endpointing", "complete_ms", "When words and intonation both sound complete.")
    likely_ms: PositiveInt = _ms("endpointing", "likely_ms", "When only the words do, or nothing is known.")
    incomplete_ms: PositiveInt = _ms("endpointing", "incomplete_ms", "When the words stop in mid-thought.")
    wordless_ms: PositiveInt = _ms(
        "endpointing", "wordless_ms", "When no word was recognized: the turn ends without a reply."
    )
    transcript_wait_ms: PositiveInt = _ms(
        "endpointing", "transcript_wait_ms", "Longest wait for a late final transcript."
    )
    adaptation: float = Field(
        default=1.25,
        ge=0,
        description="A turn never ends before this multiple of the caller's usual pause in mid-turn.",
    )


class BargeInConfig(BaseModel):
    """When the caller's voice over the agent's ducks it, mutes it, cuts it, or is let pass."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    suspect_ms: PositiveInt = _ms("barge_in", "suspect_ms", "Speech that ducks playout and holds the utterance.")
    hiss_ms: PositiveInt = _ms("barge_in", "hiss_ms", "Sound of any kind that does; a click of a key is shorter.")
    blip_ms: PositiveInt = _ms("barge_in", "blip_ms", "Sound too short to be anything: silence alone resumes.")
    mute_ms: PositiveInt = _ms("barge_in", "mute_ms", "Sound that mutes playout, unless hummed or without pitch.")
    voiced_ms: PositiveInt = _ms("barge_in", "voiced_ms", "Of that, at least this much has pitch; a breath has none.")
    sustained_ms: PositiveInt = _ms("barge_in", "sustained_ms", "Sound that cuts without words, unless hummed.")
    backchannel_ms: PositiveInt = _ms("barge_in", "backchannel_ms", "Humming longer than this cuts.")
    word_ms: PositiveInt = _ms("barge_in", "word_ms", "Sound shorter than this holds no word, whatever is recognized.")
    silence_ms: PositiveInt = _ms("barge_in", "silence_ms", "Silence after which a blip was nothing.")
    transcript_wait_ms: PositiveInt = _ms(
        "barge_in", "transcript_wait_ms", "Silence that resumes without waiting for words."
    )
    duck_db: float = Field(default=-15.0, le=0, description="Gain of playout while a barge-in is suspected.")
    ramp_ms: float = Field(default=10.0, gt=0, description="Length of gain ramps and of the fade at a cut.")


class TurnTakingConfig(BaseModel):
    """How turns are taken: a preset, and what is set beside it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    preset: Preset = Field(
        default="balanced",
        description="eager answers and yields soonest, patient leaves callers the most time; `endpointing` and "
        "`barge_in` change single values.",
    )
    draft_reply: bool = Field(
        default=True,
        description="Prepare the reply at the first pause and keep it back until the turn is over. Faster; a model is "
        "asked in vain when the caller goes on.",
    )
    unclear_confidence: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="Words recognized with less were not understood; in a short sound they are noise.",
    )
    use_smart_turn: bool = Field(default=True, description="Ask Smart Turn about the intonation; it is only a hint.")
    endpointing: EndpointingConfig = EndpointingConfig()
    barge_in: BargeInConfig = BargeInConfig()

    @model_validator(mode="before")
    @classmethod
    def _fill_from_preset(cls, values: Any) -> Any:
        """Give every value of the table that was not set the preset's."""
        if not isinstance(values, dict):
            return values
        said = cast("dict[str, Any]", values)
        preset = said.get("preset", "balanced")
        if preset not in get_args(Preset):
            return said  # the field itself says what is wrong
        column = get_args(Preset).index(preset)
        filled = dict(said)
        for table, rows in PRESETS.items():
            own = said.get(table, {})
            own = own.model_dump(exclude_unset=True) if isinstance(own, BaseModel) else own
            if isinstance(own, Mapping):
                filled[table] = {name: row[column] for name, row in rows.items()} | cast("dict[str, Any]", own)
        return filled
