"""Settings of the synthesizers, a model for each `kind`."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt

from llm.endpoint.config import EndpointConfig


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


class VoxtralTTSConfig(BaseModel):
    """Our own engine for Voxtral TTS: batched over all calls, on one CUDA device or (slowly) on the CPU."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["voxtral"] = "voxtral"
    checkpoint: Path = Field(description="Folder of the released checkpoint, Voxtral-4B-TTS-2603.")
    device: str = Field(default="cuda", pattern=r"^(cpu|cuda(:\d+)?)$", description="cuda, cuda:1 or cpu.")
    dtype: Literal["bfloat16", "float32"] = Field(
        default="bfloat16", description="Type of weights, cache and activations."
    )
    quantization: Literal["none", "int8", "fp8"] = Field(
        default="none", description="Weight-only, through torchao: halves the decoder's memory on small cards."
    )
    slots: PositiveInt = Field(default=64, le=1024, description="Utterances at once; the next is refused as busy.")
    largest_batch: PositiveInt | None = Field(
        default=None, description="Rows of one step, the most urgent first; as many as slots if not given."
    )
    cache_tokens_per_slot: PositiveInt = Field(
        default=768, description="Mean cache tokens of a slot: prompt and 12.5 a second. Slots share them all."
    )
    lead_ms: PositiveInt = Field(
        default=160, ge=80, description="Speech synthesized ahead of what the listener has taken; whole frames count."
    )
    prefill_tokens: PositiveInt = Field(
        default=1024, description="Text tokens read in one step, which delays the other calls by that step."
    )
    max_characters: PositiveInt = Field(default=2000, description="Longest text of one utterance.")
    max_seconds: PositiveFloat = Field(default=160.0, description="Longest utterance; then it is cut, with a warning.")
    guidance: float = Field(default=1.2, ge=1.0, description="Classifier-free guidance; 1.0 turns it off.")
    seed: int | None = Field(
        default=None, description="Seed of every utterance's noise; if not given, each gets its own at random."
    )
    warm_voices: tuple[str, ...] = Field(
        default=(), description="Voices whose prompt is read at the start, not at their first use."
    )
    stall_timeout_s: PositiveFloat = Field(
        default=10.0, description="Longest wait for the next chunk; then the engine counts as unreachable."
    )


class OmniSpeechConfig(EndpointConfig):
    """Voxtral TTS on vLLM-Omni, or any voice on `parley engine`."""

    kind: Literal["omni"] = "omni"
    model: str | None = Field(default=None, min_length=1, description="The model's name; the server's only one if not.")
    transfer: Literal["raw", "events"] = Field(
        default="raw", description="Events say why a server fails in mid-utterance, and are a third larger."
    )
    first_block_frames: PositiveInt | None = Field(
        default=None, description="Frames of 80 ms in the first block: fewer come earlier. The server's if not given."
    )
    seed: int | None = Field(default=None, description="Seed of every utterance's noise; at random if not given.")
    max_characters: PositiveInt = Field(default=2000, description="Longest text of one utterance.")


class MistralSpeechConfig(EndpointConfig):
    """Voxtral TTS in Mistral's cloud."""

    kind: Literal["mistral"] = "mistral"
    base_url: str = Field(
        default="https://api.mistral.ai/v1", pattern=r"^https?://[^/\s]+", description="URL of the API."
    )
    api_key_env: str | None = Field(
        default="MISTRAL_API_KEY", min_length=1, description="Name of the environment variable with the API key."
    )
    model: str = Field(default="voxtral-mini-tts-2603", min_length=1, description="The model's name.")
    max_characters: PositiveInt = Field(default=1500, description="Longest text of one utterance; some 300 words.")
