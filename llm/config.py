"""Settings of the language models, a model for each `kind`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, model_validator

from llm.endpoint.config import EndpointConfig


class DemoConfig(BaseModel):
    """The scripted demo model; needs no weights."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["demo"] = "demo"
    max_messages: PositiveInt = Field(default=2000, description="Longest conversation that is read, in messages.")


class ChatConfig(EndpointConfig):
    """Any server of the OpenAI chat completions protocol: vLLM, llama.cpp, Ollama, or `parley engine`."""

    kind: Literal["chat"] = "chat"
    model: str = Field(min_length=1, description="The model's name on that server.")
    temperature: float | None = Field(default=None, ge=0.0, le=2.0, description="The server's own if not given.")
    top_p: float | None = Field(default=None, gt=0.0, le=1.0, description="The server's own if not given.")
    max_tokens: PositiveInt | None = Field(default=1024, description="Longest reply, in tokens.")
    seed: int | None = Field(default=None, description="Seed of the sampling; at random if not given.")
    extra: Mapping[str, Any] = Field(
        default={}, description="Further fields of every request, such as chat_template_kwargs of vLLM."
    )


class MistralChatConfig(EndpointConfig):
    """Mistral's cloud, through Mistral's own client."""

    kind: Literal["mistral"] = "mistral"
    base_url: str = Field(
        default="https://api.mistral.ai/v1", pattern=r"^https?://[^/\s]+", description="URL of the API."
    )
    api_key_env: str | None = Field(
        default="MISTRAL_API_KEY", min_length=1, description="Name of the environment variable with the API key."
    )
    model: str = Field(default="mistral-small-latest", min_length=1, description="The model's name.")
    temperature: float | None = Field(default=None, ge=0.0, le=1.5, description="The model's own if not given.")
    top_p: float | None = Field(default=None, gt=0.0, le=1.0, description="The model's own if not given.")
    max_tokens: PositiveInt | None = Field(default=1024, description="Longest reply, in tokens.")
    seed: int | None = Field(default=None, description="Seed of the sampling; at random if not given.")


class MinistralConfig(BaseModel):
    """Our own engine for Ministral 3: batched over all calls, on one CUDA device or (slowly) on the CPU."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["ministral"] = "ministral"
    checkpoint: Path = Field(description="Folder of a released checkpoint, such as Ministral-3-8B-Instruct-2512.")
    device: str = Field(default="cuda", pattern=r"^(cpu|cuda(:\d+)?)$", description="cuda, cuda:1 or cpu.")
    dtype: Literal["bfloat16", "float32"] = Field(
        default="bfloat16", description="Type of weights, cache and activations."
    )
    keeps_fp8: bool = Field(
        default=True,
        description="Multiply the matrices of an FP8 checkpoint in FP8 if the device can (compute capability 8.9 and "
        "later, dtype bfloat16); elsewhere they are widened.",
    )
    quantization: Literal["none", "int8", "fp8"] = Field(
        default="none", description="Weight-only, through torchao: halves the layers' memory on small cards."
    )
    slots: PositiveInt = Field(default=64, le=1024, description="Replies at once; the next is refused as busy.")
    context_tokens: PositiveInt = Field(
        default=16_384, le=262_144, description="Longest conversation with its reply, in tokens."
    )
    reply_tokens: PositiveInt = Field(default=512, description="Longest reply; then it is cut, with a warning.")
    cache_tokens: PositiveInt = Field(
        default=65_536,
        description="Tokens whose keys and values are kept, for replies being written and for the conversations that "
        "may go on; 139 kB each for the 8B model.",
    )
    prefill_tokens: PositiveInt = Field(
        default=1024, description="Prompt tokens read in one step, which delays the other calls by that step."
    )
    temperature: float = Field(default=0.1, ge=0.0, le=2.0, description="0 always takes the likeliest token.")
    top_p: float = Field(default=1.0, gt=0.0, le=1.0, description="Share of the probability that is drawn from.")
    seed: int | None = Field(
        default=None, description="Seed of every reply's sampling; if not given, each gets its own at random."
    )
    unread_pieces: PositiveInt = Field(
        default=256, description="Pieces that may wait to be read; until then their reply is not written on."
    )
    stall_timeout_s: PositiveFloat = Field(
        default=10.0, description="Longest wait without progress; then the engine counts as unreachable."
    )

    @model_validator(mode="after")
    def _check_room(self) -> Self:
        if not self.reply_tokens < self.context_tokens <= self.cache_tokens:
            raise ValueError(
                f"wanted reply_tokens < context_tokens <= cache_tokens, found {self.reply_tokens}, "
                f"{self.context_tokens} and {self.cache_tokens}"
            )
        return self
