"""A sink that fails costs itself, not the call."""

import logging

import pytest

from pipelines.events import CallEvents, CallStarted, Event, Underrun


class Broken:
    def emit(self, event: Event) -> None:
        raise OSError("disk full")


class Kept:
    def __init__(self) -> None:
        self.all: list[Event] = []

    def emit(self, event: Event) -> None:
        self.all.append(event)


async def test_a_sink_that_raises_is_given_no_more(caplog: pytest.LogCaptureFixture) -> None:
    kept = Kept()
    events = CallEvents([Broken(), kept])
    told = [CallStarted(0, "id"), Underrun(1, 2)]
    for event in told:
        events.emit(event)
    assert kept.all == told
    assert len([record for record in caplog.records if record.levelno == logging.ERROR]) == 1
