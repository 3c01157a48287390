"""What Prometheus reads of the engine server."""

from collections.abc import Generator
from contextlib import contextmanager

from prometheus_client import Counter, Gauge, Histogram, generate_latest

from agent.prometheus import process_registry

_FIRST_OUTPUT_BUCKETS_S = (0.01, 0.02, 0.03, 0.05, 0.08, 0.12, 0.16, 0.2, 0.3, 0.5, 0.8, 1.2, 2.0, 5.0)


class EngineMetrics:
    """All metrics of one engine server, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = process_registry()
        self._active = Gauge("parley_engine_active", "Requests in progress.", ["route"], registry=self.registry)
        self._requests = Counter(
            "parley_engine_requests", "Requests by route and status.", ["route", "status"], registry=self.registry
        )
        self._first_output = Histogram(
            "parley_engine_first_output_seconds",
            "From a request that was read to the first piece of its answer.",
            ["route"],
            buckets=_FIRST_OUTPUT_BUCKETS_S,
            registry=self.registry,
        )
        self._spoken = Counter("parley_engine_spoken_seconds", "Speech synthesized.", registry=self.registry)
        self._heard = Counter("parley_engine_heard_seconds", "Audio taken for transcription.", registry=self.registry)
        self._utterances = Counter(
            "parley_engine_utterances", "Transcriptions that were completed.", registry=self.registry
        )

    @contextmanager
    def in_progress(self, route: str) -> Generator[None, None, None]:
        """A request of this route is being served."""
        gauge = self._active.labels(route)
        gauge.inc()
        try:
            yield
        finally:
            gauge.dec()

    def count_answer(self, route: str, status: str) -> None:
        """A request was answered so; `gone` if its client left before."""
        self._requests.labels(route, status).inc()

    def observe_first_output(self, route: str, seconds: float) -> None:
        """The first piece of an answer took this long."""
        self._first_output.labels(route).observe(seconds)

    def count_spoken(self, seconds: float) -> None:
        """So much speech was synthesized, in seconds."""
        self._spoken.inc(seconds)

    def count_heard(self, seconds: float) -> None:
        """So much audio was taken, in seconds."""
        self._heard.inc(seconds)

    def count_utterance(self) -> None:
        """A transcription was completed."""
        self._utterances.inc()

    def render(self) -> bytes:
        """The metrics in Prometheus' text format (`agent.prometheus.CONTENT_TYPE`)."""
        return generate_latest(self.registry)
