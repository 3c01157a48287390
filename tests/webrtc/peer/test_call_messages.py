"""Bounds of the data channel's messages, on a channel of the test's own."""

import logging
from collections.abc import Callable
from typing import Any, cast

import pytest
from aiortc import RTCDataChannel

from webrtc.peer.messages import MAX_BUFFERED_BYTES, Messages


class FakeChannel:
    """Notes what is sent; `receive` plays the far end."""

    def __init__(self) -> None:
        self.readyState = "open"
        self.bufferedAmount = 0
        self.sent: list[str] = []
        self.receive: Callable[[str | bytes], None] | None = None

    def on(self, event: str, handler: Callable[[str | bytes], None]) -> None:
        assert event == "message"
        self.receive = handler

    def send(self, message: str) -> None:
        self.sent.append(message)


def attached(messages: Messages) -> Any:
    channel = FakeChannel()
    messages.attach(cast(RTCDataChannel, channel))
    return channel


@pytest.fixture
def messages() -> Messages:
    return Messages(capacity=2, max_chars=10, call_id="test")


def test_what_was_sent_before_the_channel_opened_goes_first(messages: Messages) -> None:
    for text in "abc":
        messages.send(text)
    channel = attached(messages)
    messages.send("d")
    assert channel.sent == ["b", "c", "d"]
    assert messages.dropped == 1


def test_a_page_that_takes_nothing_costs_no_memory(messages: Messages, caplog: pytest.LogCaptureFixture) -> None:
    channel = attached(messages)
    channel.bufferedAmount = MAX_BUFFERED_BYTES + 1
    with caplog.at_level(logging.WARNING):
        messages.send("a")
        messages.send("b")
    assert channel.sent == []
    assert messages.dropped == 2
    assert len(caplog.records) == 1


def test_a_second_channel_is_not_read_and_a_new_one_after_the_first_is(messages: Messages) -> None:
    first, second = attached(messages), attached(messages)
    assert second.receive is None
    first.readyState = "closed"
    third = attached(messages)
    messages.send("a")
    assert (first.sent, third.sent) == ([], ["a"])


async def test_binary_long_and_keepalive_messages_are_not_passed_on(messages: Messages) -> None:
    channel = attached(messages)
    for message in (b"binary", "x" * 11, "ping: 1", "fine"):
        channel.receive(message)
    messages.close()
    assert [text async for text in messages.inbox] == ["fine"]


def test_after_closing_nothing_is_sent(messages: Messages) -> None:
    channel = attached(messages)
    messages.close()
    messages.close()
    messages.send("a")
    assert attached(messages).receive is None
    assert channel.sent == []
