"""The messages of a call on their way into the pipeline."""

import json
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pipelines.transport import CallInput
from webrtc.interface import Call
from webrtc.media.mailbox import Mailbox


async def test_what_is_not_json_does_not_end_the_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    """Brackets too deep for the parser and numbers too long for it among others."""
    inbox: Mailbox[str] = Mailbox(16)
    reader = CallInput(cast(Call, SimpleNamespace(messages=inbox)))
    read: list[str] = []

    async def push(frame: Any, direction: object) -> None:
        read.append(frame.message["type"])

    monkeypatch.setattr(reader, "push_frame", push)
    for text in ("{", "[" * 60_000, '{"label": "x", "n": ' + "1" * 5_000 + "}", "[]", '"label"'):
        inbox.put(text)
    inbox.put(json.dumps({"label": "rtvi-ai", "type": "last"}))
    inbox.close()
    await reader._read_messages()
    assert read == ["last"]
