"""The log as a sink of events: decisions at `info`, the rest, words among it, at `debug`."""

import logging

from pipelines.events import BargeIn, Event, TurnStep

_log = logging.getLogger(__name__)


class EventLog:
    """Writes the events of a call to the log; the call's id is on every line."""

    def emit(self, event: Event) -> None:
        """See `EventSink`."""
        if isinstance(event, BargeIn):
            _log.info("barge-in: %s (%s) after %d ms", event.decision, event.reason, event.latency_ms)
        elif not isinstance(event, TurnStep):  # 31 a second
            _log.debug("%s", event)
