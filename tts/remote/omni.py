"""vLLM-Omni's dialect of speech, which `parley engine` speaks as well: 16-bit samples, raw or as events."""

from collections.abc import Mapping, Sequence
from contextlib import aclosing
from typing import Any, cast

from pydantic import TypeAdapter

from llm.endpoint.client import Endpoint, HttpAnswer
from llm.endpoint.errors import EndpointRefused, EndpointUnreachable
from llm.endpoint.sse import events
from tts.config import OmniSpeechConfig
from tts.interface import Voice
from tts.remote.engine import SAMPLE_RATE_HZ, Blocks
from tts.remote.events import audio_of
from tts.remote.samples import PCM16, SampleReader
from tts.voices import PRESETS, voice_of

_RAW = ("audio/pcm", "application/octet-stream")
_EVENTS = "text/event-stream"
_NAMES = TypeAdapter(list[str])


class OmniSpeech:
    """The dialect; see `tts.remote.engine.SpeechDialect`."""

    def __init__(self, config: OmniSpeechConfig) -> None:
        self._config = config

    async def voices(self, endpoint: Endpoint) -> Sequence[Voice]:
        """The server's voices; the presets of Voxtral TTS if it does not list them."""
        try:
            listed: Any = await endpoint.get("audio/voices")
        except EndpointRefused as error:
            if error.status != 404:
                raise
            return PRESETS
        names: Any = cast(dict[str, Any], listed).get("voices") if isinstance(listed, dict) else None
        try:
            return [voice_of(name) for name in _NAMES.validate_python(names)]
        except ValueError:
            url = self._config.url("audio/voices")
            raise EndpointUnreachable(f"{url}: wanted a list of names in `voices`, found none") from None

    def request(self, text: str, voice: str) -> Mapping[str, Any]:
        """One utterance; both fields that ask for a stream are sent, as each alone means events on some version."""
        config = self._config
        optional = {
            "model": config.model,
            "seed": config.seed,
            "initial_codec_chunk_frames": config.first_block_frames,
        }
        return {
            "input": text,
            "voice": voice,
            "response_format": "pcm",
            "stream": True,
            "stream_format": "audio" if config.transfer == "raw" else "sse",
            **{name: value for name, value in optional.items() if value is not None},
        }

    async def audio(self, answer: HttpAnswer) -> Blocks:
        """The samples' bytes, in whichever of the two ways they come."""
        async with aclosing(answer.blocks()) as blocks:
            if answer.content_type == _EVENTS:
                async with aclosing(events(blocks)) as found, aclosing(audio_of(answer.url, found)) as audio:
                    async for block in audio:
                        yield block
            elif answer.content_type in _RAW:
                async for block in blocks:
                    yield block
            else:
                raise EndpointUnreachable(
                    f"{answer.url}: wanted audio/pcm or events, found {answer.content_type}: it cannot stream speech"
                )

    def reader(self) -> SampleReader:
        """16-bit samples."""
        return SampleReader(PCM16, SAMPLE_RATE_HZ)
