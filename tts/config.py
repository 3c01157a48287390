"""Settings of the synthesisers, a tagged union by `kind`."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt


class EspeakConfig(BaseModel):
    """eSpeak NG in a separate process over pipes; needs no weights."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["espeak"] = "espeak"
    words_per_minute: PositiveInt = Field(default=165, ge=80, le=450, description="Speaking rate.")
    workers: PositiveInt = Field(default=1, description="eSpeak processes; each speaks one clause at a time, in ms.")
    utterances: PositiveInt = Field(default=64, description="Utterances open at once; the next is refused as busy.")
    max_characters: PositiveInt = Field(default=5000, description="Longest text of one utterance.")
    answer_timeout_s: PositiveFloat = Field(
        default=5.0, description="Longest wait for one clause; then the eSpeak process is replaced."
    )


SynthesizerConfig = EspeakConfig
