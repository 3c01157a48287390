"""What every process of ours tells Prometheus: a registry with the process in it, and the format of its text."""

from typing import Final

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


def process_registry() -> CollectorRegistry:
    """A registry of its own, with the memory, the files, the Python and the garbage collector of the process."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry
