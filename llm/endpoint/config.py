"""Settings that every engine on another server shares: where it is, its key, and how long to wait for it."""

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveFloat


class EndpointConfig(BaseModel):
    """One HTTP server."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base_url: str = Field(pattern=r"^https?://[^/\s]+", description="URL of the API: http://localhost:8000/v1.")
    api_key_env: str | None = Field(
        default=None, min_length=1, description="Name of the environment variable with the API key; none if not given."
    )
    connect_timeout_s: PositiveFloat = Field(default=3.0, description="Longest wait for a connection.")
    answer_timeout_s: PositiveFloat = Field(default=10.0, description="Longest wait for the beginning of an answer.")
    stall_timeout_s: PositiveFloat = Field(default=10.0, description="Longest silence in the middle of an answer.")
    retry_limit_s: NonNegativeFloat = Field(
        default=2.0, description="How long to try again when the server is busy, failing or gone; 0 is once only."
    )
    keep_warm_s: PositiveFloat = Field(
        default=20.0, description="Time between the small requests that keep a connection open for the next turn."
    )

    def url(self, path: str) -> str:
        """The URL of a path of the API."""
        return f"{self.base_url.rstrip('/')}/{path}"
