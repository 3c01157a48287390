"""Settings of the language models, a tagged union by `kind`."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt


class DemoConfig(BaseModel):
    """The scripted demo mind; needs no weights."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["demo"] = "demo"
    max_messages: PositiveInt = Field(default=2000, description="Longest conversation that is read, in messages.")


LanguageModelConfig = DemoConfig
