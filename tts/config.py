"""Settings of the synthesisers, a tagged union by `kind`."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt


class EspeakConfig(BaseModel):
    """eSpeak NG in a separate process over pipes; needs no weights."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["espeak"] = "espeak"
    words_per_minute: PositiveInt = Field(default=165, ge=80, le=450, description="Speaking rate.")
    workers: PositiveInt = Field(default=1, description="eSpeak processes; each speaks one clause at a time, in ms.")


SynthesizerConfig = EspeakConfig
