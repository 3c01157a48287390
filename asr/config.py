"""Settings of the recognisers, a tagged union by `kind`."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt


class SphinxConfig(BaseModel):
    """pocketsphinx with a small language model of the demo mind's sentences; needs no weights."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["sphinx"] = "sphinx"
    comfort_noise_dbfs: float = Field(
        default=-45.0, le=-20.0, description="Pink noise mixed in: digital silence upsets the cepstral mean."
    )
    streams: PositiveInt = Field(default=64, description="Streams open at once; the next is refused as busy.")
    workers: PositiveInt = Field(default=1, description="Worker processes; pocketsphinx holds the GIL while decoding.")


RecognizerConfig = SphinxConfig
