"""Tells the far end and the process what happens in a call: every decision with its reason and its latency.

Messages travel on the data channel as RTVI server messages, {"type": "parley", "event": ..., "t_ms": call time}.
"""

import asyncio
import json
from typing import Any, Protocol

from pipecat.processors.frameworks.rtvi import models as rtvi
from pydantic import BaseModel

from webrtc.interface import Call


class CallObserver(Protocol):
    """What the process counts; agent/serving/metrics.py turns it into Prometheus metrics."""

    def reply_latency(self, ms: float) -> None:
        """From the end of the caller's speech to the reply's first packet."""
        ...

    def decision(self, kind: str, latency_ms: float) -> None:
        """A barge-in decision: suspect, cut or resume, and how long after the caller's first sound."""
        ...

    def underrun(self, count: int) -> None:
        """Playout ran dry inside an utterance this often since the last report."""
        ...


class Timeline:
    """The stream of one call's events."""

    def __init__(self, call: Call, observer: CallObserver) -> None:
        self._call = call
        self._observer = observer
        self._started_at = asyncio.get_running_loop().time()
        self._state = ""

    def about(self, **facts: Any) -> None:
        """Say who answers."""
        self._publish("about", **facts)

    def state(self, state: str) -> None:
        """Listening, thinking, speaking or ducked; repeats are dropped."""
        if state != self._state:
            self._state = state
            self._publish("state", state=state)

    def voice(self, is_speech: bool) -> None:
        """The caller's voice began or paused."""
        self._publish("vad", is_speech=is_speech)

    def decision(self, kind: str, reason: str, latency_ms: float) -> None:
        """A barge-in decision, counted from the caller's first sound."""
        self._publish("decision", decision=kind, reason=reason, latency_ms=round(latency_ms))
        self._observer.decision(kind, latency_ms)

    def reply_latency(self, ms: float) -> None:
        """The reply began this long after the caller's last sound."""
        self._publish("latency", name="reply", ms=round(ms))
        self._observer.reply_latency(ms)

    def underrun(self, count: int) -> None:
        """Playout ran dry inside an utterance."""
        self._observer.underrun(count)

    def heard(self, word: str, so_far: str, utterance: int) -> None:
        """The caller heard a word; `so_far` is all that was heard of the utterance."""
        self._publish("heard", text=word, utterance=utterance)
        progress = rtvi.SpokenProgressData(accumulated_text=so_far, remaining_text="")
        output = rtvi.BotOutputMessageData(
            text=word,
            output_type="word",
            segment_id=utterance,
            spoken=True,
            will_be_spoken=True,
            spoken_status="in-progress",
            spoken_progress=progress,
        )
        self.send(rtvi.BotOutputMessage(data=output))

    def interrupted(self, heard: str, utterance: int) -> None:
        """The caller cut the agent short after this."""
        self._publish("interrupted", heard=heard, utterance=utterance)

    def send(self, message: BaseModel) -> None:
        """Send an RTVI message of Pipecat's."""
        self._call.send(message.model_dump_json(exclude_none=True))

    def _publish(self, event: str, **data: Any) -> None:
        t_ms = round((asyncio.get_running_loop().time() - self._started_at) * 1000)
        self._call.send(
            json.dumps(
                {
                    "label": rtvi.MESSAGE_LABEL,
                    "type": "server-message",
                    "data": {"type": "parley", "event": event, "t_ms": t_ms, **data},
                }
            )
        )
