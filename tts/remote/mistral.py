"""Mistral's dialect of speech: float samples as events, voices by id."""

from collections.abc import Mapping, Sequence
from contextlib import aclosing
from typing import Any

from pydantic import BaseModel

from llm.endpoint.client import Endpoint, HttpAnswer
from llm.endpoint.errors import EndpointUnreachable
from llm.endpoint.sse import events
from tts.config import MistralSpeechConfig
from tts.interface import Voice
from tts.remote.engine import SAMPLE_RATE_HZ, Blocks
from tts.remote.events import audio_of
from tts.remote.samples import FLOAT32, SampleReader

_MOST_VOICES = 100


class _Voice(BaseModel):
    id: str
    name: str
    slug: str | None = None
    languages: list[str] | None = None
    description: str | None = None


class _Voices(BaseModel):
    items: list[_Voice]


class MistralSpeech:
    """The dialect; see `tts.remote.engine.SpeechDialect`."""

    def __init__(self, config: MistralSpeechConfig) -> None:
        self._config = config
        self._ids: dict[str, str] = {}

    async def voices(self, endpoint: Endpoint) -> Sequence[Voice]:
        """The account's voices, preset and custom, by their slugs."""
        path = f"audio/voices?limit={_MOST_VOICES}"
        try:
            listed = _Voices.model_validate(await endpoint.get(path))
        except ValueError:
            raise EndpointUnreachable(f"{self._config.url(path)}: wanted a list of voices, found none") from None
        found: list[Voice] = []
        for voice in listed.items:
            name = (voice.slug or voice.name).lower()
            language = (voice.languages or ["en"])[0].replace("_", "-").partition("-")[0].lower()
            found.append(Voice(name, language, voice.description or voice.name))
            self._ids[name] = voice.id
        return found

    def request(self, text: str, voice: str) -> Mapping[str, Any]:
        """One utterance."""
        return {
            "input": text,
            "model": self._config.model,
            "voice_id": self._ids[voice],
            "response_format": "pcm",
            "stream": True,
        }

    async def audio(self, answer: HttpAnswer) -> Blocks:
        """The samples' bytes."""
        async with (
            aclosing(answer.blocks()) as blocks,
            aclosing(events(blocks)) as found,
            aclosing(audio_of(answer.url, found)) as audio,
        ):
            async for block in audio:
                yield block

    def reader(self) -> SampleReader:
        """Float samples."""
        return SampleReader(FLOAT32, SAMPLE_RATE_HZ)
