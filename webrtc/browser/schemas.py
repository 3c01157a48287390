"""What a caller's requests hold, in the names of Pipecat's small-webrtc transport."""

from pydantic import BaseModel, ConfigDict, Field


class OfferBody(BaseModel):
    """A caller's offer; what else Pipecat's clients send with it is ignored."""

    model_config = ConfigDict(extra="ignore")

    sdp: str = Field(description="Session description, RFC 8866.")
    type: str = Field(description="Always `offer`.")
    pc_id: str | None = Field(default=None, description="The call to renegotiate, as its answer named it.")
    restart_pc: bool | None = Field(default=None, description="Hang up the call `pc_id` and begin another.")


class CandidateBody(BaseModel):
    """One ICE candidate as browsers name its parts."""

    model_config = ConfigDict(extra="ignore")

    candidate: str
    sdp_mid: str | None = None
    sdp_mline_index: int | None = None


class CandidatesBody(BaseModel):
    """Candidates that a caller found after its offer."""

    model_config = ConfigDict(extra="ignore")

    pc_id: str
    candidates: list[CandidateBody]
