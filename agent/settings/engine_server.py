"""Settings of the engine server."""

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveFloat, PositiveInt, SecretStr


class EngineServerConfig(BaseModel):
    """`parley engine`: who may use the engines over the network, and how much at a time."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = Field(default="127.0.0.1", min_length=1, description="Address to listen on; 0.0.0.0 is every one.")
    port: int = Field(default=8000, ge=0, le=65_535, description="TCP port; 0 picks a free one.")
    api_keys: tuple[SecretStr, ...] = Field(
        default=(), description="Each request needs one of them: `Authorization: Bearer KEY`. None: open to everyone."
    )
    requests_per_key: PositiveInt = Field(
        default=256, description="Requests and sockets of one key at a time, of all without keys; then 429."
    )
    max_body_bytes: PositiveInt = Field(
        default=4_194_304, description="Largest request body and socket message; larger ones get 413 and code 1009."
    )
    body_timeout_s: PositiveFloat = Field(default=10.0, description="Time for a request body to arrive.")
    write_timeout_s: PositiveFloat = Field(
        default=30.0, description="Longest time that a client may take nothing of its answer; then it is dropped."
    )
    uncommitted_audio_s: PositiveFloat = Field(
        default=30.0, description="Audio that a socket may send before it asks for its transcription."
    )
    drain_limit_s: NonNegativeFloat = Field(
        default=30.0, description="After SIGTERM, how long the requests in progress may go on."
    )
