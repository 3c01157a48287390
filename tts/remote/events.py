"""The event stream of a speech server: audio in base64, an end that says so, or an error."""

import binascii
import json
from base64 import b64decode
from collections.abc import AsyncGenerator, AsyncIterable
from typing import Any

from pydantic import AliasChoices, BaseModel, Field

from llm.endpoint.errors import EndpointUnreachable, said_by
from llm.endpoint.sse import Event


class _AudioDelta(BaseModel):
    audio: str = Field(validation_alias=AliasChoices("audio", "audio_data"))  # vLLM-Omni's name, Mistral's


async def audio_of(url: str, events: AsyncIterable[Event]) -> AsyncGenerator[bytes, None]:
    """The audio in a stream of events, in blocks that need not end with a sample.

    Raises:
        EndpointUnreachable: an error or a malformed event in mid-stream, or an end without `speech.audio.done`.
    """
    async for event in events:
        match _kind(url, event):
            case "speech.audio.delta":
                yield _audio(url, event)
            case "speech.audio.done":
                return
            case "speech.audio.error" | "error":
                why = said_by(event.data) or "no reason"
                raise EndpointUnreachable(f"{url} failed in the middle of an utterance ({why}): look at its log")
            case _:  # later versions may add events
                pass
    raise EndpointUnreachable(f"{url} ended in the middle of an utterance: look at the server's log")


def _kind(url: str, event: Event) -> str:
    try:
        found: Any = json.loads(event.data)
    except ValueError:
        raise _malformed(url) from None
    if not isinstance(found, dict):
        raise _malformed(url)
    if "error" in found:
        return "error"
    return str(found.get("type", event.name))  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]


def _audio(url: str, event: Event) -> bytes:
    try:
        return b64decode(_AudioDelta.model_validate_json(event.data).audio, validate=True)
    except (ValueError, binascii.Error):
        raise _malformed(url) from None


def _malformed(url: str) -> EndpointUnreachable:
    return EndpointUnreachable(f"{url} sent a malformed event: check that it streams speech")
