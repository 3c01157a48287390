"""Settings of the language models, a tagged union by `kind`."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from llm.endpoint_config import EndpointConfig


class DemoConfig(BaseModel):
    """The scripted demo mind; needs no weights."""

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


LanguageModelConfig = Annotated[DemoConfig | ChatConfig | MistralChatConfig, Field(discriminator="kind")]
