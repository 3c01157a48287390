"""What a client of `/v1/audio/speech` may ask for, in the words of OpenAI, vLLM-Omni or Mistral.

A request with `voice_id` is one in Mistral's dialect: its PCM is float32, and its audio comes in JSON. What these
servers know beyond the fields here (seed, instructions, size of the first block) is decided by the engine's settings
and ignored, but for what would sound otherwise than asked: another speed or a cloned voice is refused.
"""

from typing import Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, field_validator, model_validator

from agent.engine_server.audio import Encoding

SAMPLE_RATE_HZ = 24_000  # of PCM in all three dialects, whatever the engine's own rate


class VoiceId(BaseModel):
    """A voice as an object."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str


class SpeechRequest(BaseModel):
    """The body of a request."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    input: str
    model: str | None = None
    voice: str | VoiceId | None = Field(default=None, validation_alias=AliasChoices("voice", "speaker"))
    voice_id: str | None = None
    language: str | None = None
    response_format: Literal["pcm", "wav"] | None = None
    stream: bool = False
    stream_format: Literal["sse", "audio"] | None = None
    sample_rate: Literal[8000, 24000] = SAMPLE_RATE_HZ
    speed: float = 1.0
    ref_audio: object = None

    @field_validator("speed")
    @classmethod
    def _only_its_own(cls, speed: float) -> float:
        if speed != 1.0:
            raise ValueError(f"wanted {speed:g}, but the engine speaks at its own speed only: leave it out")
        return speed

    @field_validator("ref_audio")
    @classmethod
    def _no_cloning(cls, reference: object) -> object:
        if reference is not None:
            raise ValueError("voices are not cloned here: choose one of /v1/audio/voices")
        return reference

    @model_validator(mode="after")
    def _no_default_of_mistral(self) -> "SpeechRequest":
        if self.is_mistral and self.response_format is None:
            raise ValueError("response_format: wanted mp3, the default, but there are pcm and wav only: ask for one")
        return self

    @property
    def is_mistral(self) -> bool:
        """Whether it is in Mistral's dialect."""
        return self.voice_id is not None

    @property
    def voice_name(self) -> str | None:
        """The voice, in whichever way it was named."""
        return self.voice_id or (self.voice.id if isinstance(self.voice, VoiceId) else self.voice)

    @property
    def is_wav(self) -> bool:
        """Whether a header is wanted; vLLM-Omni's default."""
        return self.response_format != "pcm"

    @property
    def encoding(self) -> Encoding:
        """How samples become bytes."""
        return "pcm_f32le" if self.is_mistral and not self.is_wav else "pcm_s16le"

    @property
    def delivery(self) -> Literal["whole", "raw", "events"]:
        """Whole, as raw bytes as they come, or as server-sent events as they come."""
        if self.stream_format == "sse" or (self.stream and self.stream_format is None):
            return "events"
        if self.is_mistral:
            return "whole"
        # PCM reads the same in both ways, so it need not wait; WAV has its length in front.
        return "raw" if self.stream_format == "audio" or not self.is_wav else "whole"
