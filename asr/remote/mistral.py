"""The dialect of Mistral's realtime transcription: one session for all turns, each ended by a flush."""

from collections.abc import Mapping, Sequence
from typing import Any

from asr.config import MistralRealtimeConfig
from asr.interface import SAMPLE_RATE_HZ
from asr.remote.dialect import HeardPiece, JsonObject, TurnDone, base64_of, text_in
from llm.endpoint.client import EndpointSocket
from llm.endpoint.errors import EndpointUnreachable


class MistralRealtime:
    """The dialect; see `asr.remote.dialect.RealtimeDialect`."""

    path = "audio/transcriptions/realtime"

    def __init__(self, config: MistralRealtimeConfig) -> None:
        self._delay_ms = config.delay_ms
        self.query: Mapping[str, str] = {"model": config.model}

    async def open(self, socket: EndpointSocket) -> None:
        """Settle the format once the session exists."""
        while (created := await socket.receive()).get("type") != "session.created":
            self.read(created)
        session: dict[str, Any] = {"audio_format": {"encoding": "pcm_s16le", "sample_rate": SAMPLE_RATE_HZ}}
        if self._delay_ms is not None:
            session["target_streaming_delay_ms"] = self._delay_ms
        await socket.send({"type": "session.update", "session": session})

    def begin(self) -> Sequence[JsonObject]:
        """Audio begins a segment by itself."""
        return []

    def audio(self, pcm16: bytes) -> JsonObject:
        """Audio of the segment."""
        return {"type": "input_audio.append", "audio": base64_of(pcm16)}

    def finish(self) -> JsonObject:
        """End the segment; the session goes on."""
        return {"type": "input_audio.flush"}

    def read(self, message: JsonObject) -> HeardPiece | TurnDone | None:
        """Deltas of words; the text of `done` may be that of all segments so far, and so is not used."""
        match message.get("type"):
            case "transcription.text.delta":
                return HeardPiece(text_in(message, "text"))
            case "transcription.done":
                return TurnDone(None)
            case "error":
                raise EndpointUnreachable(
                    f"Mistral's recognition failed ({_reason(message.get('error'))}): see its status page",
                    retry_after_s=0.0,
                )
            case _:
                return None


def _reason(error: Any) -> str:
    """The message in an error, which is a text or an object with a `detail`."""
    message = error.get("message") if isinstance(error, dict) else error  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
    detail = message.get("detail") if isinstance(message, dict) else message  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
    return str(detail)[:200]  # pyright: ignore[reportUnknownArgumentType]
