"""Settings of the transport: how a call is connected, heard, played out and let in."""

from pydantic import BaseModel, ConfigDict, Field, IPvAnyNetwork, PositiveFloat, PositiveInt, SecretStr


class IceServer(BaseModel):
    """A STUN or TURN server."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str = Field(description="For example stun:stun.example.org:3478 or turn:turn.example.org?transport=tcp.")
    username: str | None = Field(default=None, description="Name at the TURN server.")
    credential: SecretStr | None = Field(default=None, description="Password at the TURN server.")


class JitterConfig(BaseModel):
    """How long to wait for a packet that others have overtaken, or that nothing has followed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_hold_ms: PositiveFloat = Field(
        default=10.0, description="Wait for a missing packet while the network keeps the order."
    )
    max_hold_ms: PositiveFloat = Field(
        default=100.0, description="Longest wait for a missing packet, reached when packets are seen to come that late."
    )
    stall_ms: PositiveFloat = Field(
        default=100.0, description="Quiet of the network after which the microphone's time goes on without packets."
    )
    max_fill_ms: PositiveFloat = Field(default=500.0, description="Longest hole in the far end's time that is filled.")


class SignallingConfig(BaseModel):
    """Who may call, how often, and with how much."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_calls: PositiveInt = Field(default=64, description="Calls at a time; the owner may refuse earlier.")
    offers_per_minute: PositiveInt = Field(
        default=60, description="Offers from one IPv4 address or IPv6 /64 network; further ones get 429."
    )
    max_body_bytes: PositiveInt = Field(default=131_072, description="Largest request body; larger ones get 413.")
    body_timeout_s: PositiveFloat = Field(default=5.0, description="Time for a request body to arrive.")
    allowed_origins: tuple[str, ...] = Field(
        default=(), description="Web origins beside our own whose pages may call, e.g. https://example.org."
    )
    trusted_proxies: tuple[IPvAnyNetwork, ...] = Field(
        default=(),
        description="Addresses or networks of proxies whose X-Forwarded-For, -Host and -Proto count, e.g. 127.0.0.1.",
    )
    token_secret: SecretStr | None = Field(
        default=None, description="Signs call tokens; with it every offer needs `Authorization: Bearer TOKEN`."
    )
    token_lifetime_s: PositiveInt = Field(default=60, description="A token opens calls for this long.")


class WebRTCConfig(BaseModel):
    """The transport of every call."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ice_servers: tuple[IceServer, ...] = Field(
        default=(), description="STUN and TURN servers; none on a local network."
    )
    loopback: bool = Field(
        default=False,
        description="Offer 127.0.0.1 as well, for callers on this machine when it has no other network.",
    )
    answer_timeout_s: PositiveFloat = Field(default=6.0, description="Time to answer an offer, STUN and TURN included.")
    connect_timeout_s: PositiveFloat = Field(
        default=10.0, description="Time from the answer to a connection; then the call is closed."
    )
    silence_timeout_s: float = Field(
        default=8.0, gt=0, le=10, description="Without a packet for this long the caller has vanished: closed."
    )
    close_timeout_s: PositiveFloat = Field(default=2.0, description="Time for the connection to be taken down.")
    jitter: JitterConfig = Field(default=JitterConfig(), description="Waiting for late packets.")
    microphone_capacity_ms: PositiveInt = Field(
        default=2000, description="Heard audio kept for a reader that stalls; then the oldest is dropped."
    )
    playout_capacity_ms: PositiveInt = Field(default=30_000, description="Speech accepted ahead of its playout.")
    bitrate_bps: PositiveInt = Field(default=32_000, ge=6_000, le=128_000, description="Opus bit rate of the speech.")
    message_capacity: PositiveInt = Field(
        default=256, description="Messages kept each way, until read or until the data channel opens."
    )
    max_message_chars: PositiveInt = Field(default=65_536, description="Longest message taken from a caller.")
    signalling: SignallingConfig = Field(default=SignallingConfig(), description="Who may call.")
