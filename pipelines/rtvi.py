"""RTVI for one call: Pipecat's protocol, sent straight to the data channel.

Stock messages cross every processor of the pipeline, two tasks each; a reply's tokens alone would take 0.3 s. And they
tell what was generated, where we tell what was heard.
"""

from typing import Any

from pipecat.processors.frameworks.rtvi import RTVIProcessor
from pydantic import BaseModel

from pipelines.observer import Timeline

UNHEARD = frozenset({"bot-llm-text", "bot-transcription"})  # text that the caller may never hear


class DirectRTVI(RTVIProcessor):
    """Answers a client and reports to it; everything it sends goes through the call's timeline."""

    def __init__(self, timeline: Timeline) -> None:
        super().__init__()
        self._timeline = timeline

    async def push_transport_message(self, model: BaseModel, exclude_none: bool = True) -> None:  # noqa: ARG002
        """Send a message now, unless it tells what has not been heard."""
        kind: Any = getattr(model, "type", None)
        if kind not in UNHEARD:
            self._timeline.send(model)
