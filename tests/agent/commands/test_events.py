"""docs/events.md is what `parley events` prints, and every event survives being written and read."""

import json
from dataclasses import fields
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.commands.events import events_page
from pipelines.events import Event, from_json, to_json

PAGE = Path(__file__).resolve().parents[3] / "docs" / "events.md"


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text() == events_page(), "run: parley events > docs/events.md"


def test_every_event_is_on_the_page_and_has_a_type_of_its_own() -> None:
    types = [next(field.default for field in fields(kind) if field.name == "type") for kind in get_args(Event)]
    assert len(set(types)) == len(types)
    assert all(f"| `{name}`" in events_page() for name in types)


@given(event=st.from_type(Event))  # type: ignore[arg-type]
def test_what_is_written_can_be_read(event: Event) -> None:
    assert from_json(json.loads(json.dumps(to_json(event)))) == event


def test_what_is_no_event_is_one_line_that_says_why() -> None:
    for values, line in (
        (3, "no event of a call: event: Input should be a valid dictionary"),
        ({"type": "nonsense"}, "no event of a call: event: Input tag 'nonsense'"),
        ({"type": "heard", "t_ms": "soon"}, "no event of a call: heard.t_ms: Input should be a valid integer"),
    ):
        with pytest.raises(ValueError, match="no event of a call") as caught:
            from_json(values)
        assert str(caught.value).startswith(line)
        assert "\n" not in str(caught.value)
