"""The names under which the engines are served."""

from dataclasses import dataclass
from typing import Any

from agent.engines.registry import installed_engines
from agent.settings.config import Settings
from webrtc.http.errors import RequestRefused


@dataclass(frozen=True, slots=True)
class Model:
    """One engine as `/v1/models` lists it."""

    id: str
    does: str  # transcription, chat or speech
    created: int  # seconds since 1970

    def check(self, wanted: str | None) -> None:
        """Accept the name that a client gave, with or without its owner (`mistralai/NAME`); None is always right.

        Raises:
            RequestRefused: 404, another name.
        """
        if wanted is not None and _bare(wanted) != _bare(self.id):
            raise RequestRefused(
                404,
                f"wanted the model {wanted}, found {self.id} for {self.does}: see /v1/models",
                code="model_not_found",
                param="model",
            )

    def as_json(self) -> dict[str, Any]:
        """An entry of the list; `capabilities` and `type` are for Mistral's client, which insists on them."""
        return {
            "id": self.id,
            "object": "model",
            "created": self.created,
            "owned_by": "parley",
            "type": "base",
            "capabilities": {
                "completion_chat": self.does == "chat",
                "function_calling": self.does == "chat",
                "audio_speech": self.does == "speech",
                "audio_transcription_realtime": self.does == "transcription",
            },
        }


@dataclass(frozen=True, slots=True)
class Models:
    """What is served for each part."""

    asr: Model
    llm: Model
    tts: Model

    @classmethod
    def of(cls, settings: Settings, created: int) -> "Models":
        """Those of the chosen engines."""
        engines = installed_engines()
        return cls(
            asr=Model(engines.spec("asr", settings.asr).model(settings.asr), "transcription", created),
            llm=Model(engines.spec("llm", settings.llm).model(settings.llm), "chat", created),
            tts=Model(engines.spec("tts", settings.tts).model(settings.tts), "speech", created),
        )

    def as_json(self) -> dict[str, Any]:
        """The list, as `/v1/models` answers."""
        return {"object": "list", "data": [model.as_json() for model in (self.asr, self.llm, self.tts)]}


def _bare(name: str) -> str:
    return name.rsplit("/", 1)[-1].lower()
