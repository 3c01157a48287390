"""The dialect of vLLM's /v1/realtime, which `parley engine` speaks as well: each turn is one request on the socket."""

from collections.abc import Mapping, Sequence

from asr.config import VllmRealtimeConfig
from asr.remote.dialect import HeardPiece, JsonObject, TurnDone, base64_of, text_in
from llm.endpoint.client import EndpointSocket
from llm.endpoint.errors import EndpointRefused, EndpointUnreachable

_HOPELESS = ("model_not_found", "model_not_validated", "invalid_event", "unknown_event", "invalid_json")


class VllmRealtime:
    """The dialect; see `asr.remote.dialect.RealtimeDialect`."""

    path = "realtime"

    def __init__(self, config: VllmRealtimeConfig) -> None:
        self._model = config.model
        self.query: Mapping[str, str] = {}

    async def open(self, socket: EndpointSocket) -> None:
        """Name the model, which a server that likes it does not answer."""
        while (await socket.receive()).get("type") != "session.created":
            pass
        await socket.send({"type": "session.update", "model": self._model})

    def begin(self) -> Sequence[JsonObject]:
        """Start the request."""
        return [{"type": "input_audio_buffer.commit", "final": False}]

    def audio(self, pcm16: bytes) -> JsonObject:
        """Audio of the request."""
        return {"type": "input_audio_buffer.append", "audio": base64_of(pcm16)}

    def finish(self) -> JsonObject:
        """End the request; the server adds the silence that its model wants."""
        return {"type": "input_audio_buffer.commit", "final": True}

    def read(self, message: JsonObject) -> HeardPiece | TurnDone | None:
        """A delta for each step of 80 ms, most of them empty, then the whole text."""
        match message.get("type"):
            case "transcription.delta":
                return HeardPiece(text_in(message, "delta"))
            case "transcription.done":
                return TurnDone(text_in(message, "text"))
            case "error":
                why = f"the recognition server failed ({str(message.get('error'))[:200]})"
                if message.get("code") in _HOPELESS:
                    raise EndpointRefused(f"{why}: check model = {self._model!r} and base_url", status=400)
                raise EndpointUnreachable(f"{why}: look at its log", retry_after_s=0.0)
            case _:
                return None
