"""Settings of the recognizers, a model for each `kind`."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveFloat, PositiveInt

from llm.endpoint.config import EndpointConfig


class SphinxConfig(BaseModel):
    """pocketsphinx with a small language model of the demo model's sentences; needs no weights."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["sphinx"] = "sphinx"
    comfort_noise_dbfs: float = Field(
        default=-45.0, le=-20.0, description="Pink noise mixed in: digital silence upsets the cepstral mean."
    )
    streams: PositiveInt = Field(default=64, description="Streams open at once; the next is refused as busy.")
    answer_timeout_s: PositiveFloat = Field(
        default=10.0, description="Longest wait for a final transcript; then the stream is lost."
    )
    workers: PositiveInt = Field(default=1, description="Worker processes; pocketsphinx holds the GIL while decoding.")


class VoxtralRealtimeConfig(BaseModel):
    """Our own engine for Voxtral Realtime: batched over all calls, on one CUDA device or (slowly) on the CPU."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["voxtral"] = "voxtral"
    checkpoint: Path = Field(description="Folder of the released checkpoint, Voxtral-Mini-4B-Realtime-2602.")
    device: str = Field(default="cuda", pattern=r"^(cpu|cuda(:\d+)?)$", description="cuda, cuda:1 or cpu.")
    dtype: Literal["bfloat16", "float32"] = Field(
        default="bfloat16", description="Type of weights, caches and activations."
    )
    streams: PositiveInt = Field(default=64, le=1024, description="Streams open at once; the next is refused as busy.")
    delay_ms: int = Field(
        default=480,
        ge=80,
        le=2400,
        multiple_of=80,
        description="How far the text is behind the audio: more is more accurate. A flush does not wait for it.",
    )
    context_s: PositiveFloat = Field(
        default=60.0,
        description="Mean audio of a turn for which the decoder's cache has room; all streams share it. A turn may be "
        "of any length; the decoder sees its newest 655 s.",
    )
    blank_penalty: bool = Field(
        default=True,
        description="Penalize blank tokens after 16 s of nothing else; otherwise the model may stop hearing for good.",
    )
    restart_after_s: PositiveFloat = Field(
        default=20.0, description="Audio of a turn without a word, after which its stream is restarted."
    )
    replay_s: PositiveFloat = Field(default=3.0, description="Newest audio that a restarted stream hears again.")
    backlog_s: PositiveFloat = Field(
        default=600.0, description="Audio that may wait to be heard; a stream with more ends with an error."
    )
    unread_transcripts: PositiveInt = Field(
        default=16, description="Transcripts that may wait to be read; until then their stream is not stepped."
    )
    stall_timeout_s: PositiveFloat = Field(
        default=10.0, description="Longest wait for a step that is due; then the engine counts as unreachable."
    )


class RealtimeServerConfig(EndpointConfig):
    """What the servers that listen over a web socket have in common."""

    streams: PositiveInt = Field(default=64, description="Streams open at once; the next is refused as busy.")
    flush_timeout_s: PositiveFloat = Field(
        default=2.0, description="Longest silence of the server after a flush; then what it said so far is final."
    )
    reconnects: NonNegativeInt = Field(
        default=4, description="Lost connections in a row, each replaced at once; the next ends the stream."
    )
    backlog_s: PositiveFloat = Field(
        default=120.0, description="Newest audio of a turn, kept for a server that lags behind or must hear it again."
    )


class VllmRealtimeConfig(RealtimeServerConfig):
    """Voxtral Realtime on vLLM's /v1/realtime, or any recognizer on `parley engine`."""

    kind: Literal["vllm"] = "vllm"
    model: str = Field(
        default="mistralai/Voxtral-Mini-4B-Realtime-2602", min_length=1, description="The model's name on that server."
    )


class MistralRealtimeConfig(RealtimeServerConfig):
    """Voxtral Realtime in Mistral's cloud."""

    kind: Literal["mistral"] = "mistral"
    base_url: str = Field(
        default="https://api.mistral.ai/v1", pattern=r"^https?://[^/\s]+", description="URL of the API."
    )
    api_key_env: str | None = Field(
        default="MISTRAL_API_KEY", min_length=1, description="Name of the environment variable with the API key."
    )
    model: str = Field(default="voxtral-mini-transcribe-realtime-2602", min_length=1, description="The model's name.")
    delay_ms: PositiveInt | None = Field(
        default=None,
        description="How far the text is behind the audio: more is more accurate. The cloud's if not given.",
    )
