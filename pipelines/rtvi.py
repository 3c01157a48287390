"""RTVI for one call: Pipecat's protocol, sent straight to the data channel, and a call's events beside it.

Stock messages cross every processor of the pipeline, two tasks each; a reply's tokens alone would take 0.3 s. And they
tell what was generated, where we tell what was heard. Events travel as RTVI server messages,
{"type": "parley", "event": the event's type, "t_ms": call time, ...}.
"""

import json
from typing import Any

from pipecat.processors.frameworks.rtvi import RTVIProcessor
from pipecat.processors.frameworks.rtvi import models as rtvi
from pydantic import BaseModel

from pipelines.events import CallerEvent, Event, Heard, to_json
from webrtc.interface import Call

UNHEARD = frozenset({"bot-llm-text", "bot-transcription"})  # text that the caller may never hear


class DirectRTVI(RTVIProcessor):
    """Answers a client and reports to it."""

    def __init__(self, call: Call) -> None:
        super().__init__()
        self._call = call

    async def push_transport_message(self, model: BaseModel, exclude_none: bool = True) -> None:  # noqa: ARG002
        """Send a message now, unless it tells what has not been heard."""
        kind: Any = getattr(model, "type", None)
        if kind not in UNHEARD:
            self._call.send(model.model_dump_json(exclude_none=True))


class DataChannelSink:
    """Sends the caller's side the events that it can show."""

    def __init__(self, call: Call) -> None:
        self._call = call

    def emit(self, event: Event) -> None:
        """See `EventSink`."""
        if not isinstance(event, CallerEvent):
            return
        values = to_json(event)
        data = {**values, "type": "parley", "event": values["type"]}
        self._call.send(json.dumps({"label": rtvi.MESSAGE_LABEL, "type": "server-message", "data": data}))
        if isinstance(event, Heard):
            self._call.send(_bot_output(event).model_dump_json(exclude_none=True))


def _bot_output(heard: Heard) -> rtvi.BotOutputMessage:
    """The word for clients that know RTVI only."""
    progress = rtvi.SpokenProgressData(accumulated_text=heard.so_far, remaining_text="")
    return rtvi.BotOutputMessage(
        data=rtvi.BotOutputMessageData(
            text=heard.text,
            output_type="word",
            segment_id=heard.utterance,
            spoken=True,
            will_be_spoken=True,
            spoken_status="in-progress",
            spoken_progress=progress,
        )
    )
