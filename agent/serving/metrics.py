"""What Prometheus reads of the process; a sink of the events of every call."""

import asyncio
import threading

from prometheus_client import Counter, Gauge, Histogram, generate_latest

from agent.prometheus import process_registry
from pipelines.events import BargeIn, Event, ReplyLatency, Underrun
from webrtc.interface import CallStats

_REPLY_BUCKETS_S = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2, 1.5, 2.0, 3.0, 5.0)
_DECISION_BUCKETS_S = (0.05, 0.08, 0.11, 0.13, 0.16, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.75, 1.0)


class Metrics:
    """All metrics of one process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = process_registry()
        self.calls_active = Gauge("parley_calls_active", "Calls in progress.", registry=self.registry)
        self.calls_total = Counter("parley_calls", "Calls accepted.", registry=self.registry)
        self.calls_failed = Counter("parley_calls_failed", "Calls lost to an error of ours.", registry=self.registry)
        self.calls_refused = Counter("parley_calls_refused", "Calls refused.", ["reason"], registry=self.registry)
        self._call_seconds = Histogram(
            "parley_call_duration_seconds",
            "How long calls lasted.",
            registry=self.registry,
            buckets=(5, 15, 30, 60, 120, 300, 600, 1800, 3600),
        )
        self.loop_lag = Gauge(
            "parley_loop_lag_p99_seconds", "Lateness of the event loop, 99th percentile.", registry=self.registry
        )
        self._reply_seconds = Histogram(
            "parley_reply_latency_seconds",
            "End of the caller's speech to the first packet of the reply.",
            buckets=_REPLY_BUCKETS_S,
            registry=self.registry,
        )
        self._decisions = Histogram(
            "parley_barge_in_decision_seconds",
            "Onset of the caller's speech over the agent's to each barge-in decision.",
            ["decision"],
            buckets=_DECISION_BUCKETS_S,
            registry=self.registry,
        )
        self._underruns = Counter("parley_underruns", "Playout ran dry inside an utterance.", registry=self.registry)
        self._late_packets = Counter(
            "parley_late_packets", "Packets of callers that came too late to be heard.", registry=self.registry
        )
        self._lost_packets = Counter(
            "parley_lost_packets", "Packets of callers that were given up and concealed.", registry=self.registry
        )
        self._stalls = Counter(
            "parley_playout_stalls",
            "Times that playout was too late to catch up.",
            registry=self.registry,
        )
        Gauge("parley_tasks", "Tasks of the event loop.", registry=self.registry).set_function(_count_tasks)
        Gauge("parley_threads", "Python threads.", registry=self.registry).set_function(threading.active_count)

    def emit(self, event: Event) -> None:
        """See `EventSink`."""
        match event:
            case ReplyLatency():
                self._reply_seconds.observe(event.ms / 1000)
            case BargeIn():
                self._decisions.labels(event.decision).observe(event.latency_ms / 1000)
            case Underrun():
                self._underruns.inc(event.count)
            case _:
                pass

    def call_ended(self, duration_s: float, stats: CallStats) -> None:
        """A call is over: how long it was, and what became of its packets."""
        self._call_seconds.observe(duration_s)
        self._late_packets.inc(stats.late_packets)
        self._lost_packets.inc(stats.lost_packets)
        self._stalls.inc(stats.stalls)

    def render(self) -> bytes:
        """The metrics in Prometheus' text format (`agent.prometheus.CONTENT_TYPE`)."""
        return generate_latest(self.registry)


def _count_tasks() -> int:
    return len(asyncio.all_tasks())
