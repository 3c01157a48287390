"""Which replies a step serves: first clauses at once, then at the pace of speech, prompts in bounded pieces."""

import pytest

from llm.ministral.scheduler import FIRST_CLAUSE_TOKENS, SPOKEN_TOKENS_PER_S, Read, Row, Write, next_deadline, plan


def row(slot: int, *, asked_s: float = 0.0, unread: int = 0, written: int = 0, room: bool = True) -> Row:
    return Row(submitted_s=asked_s, has_room=lambda: room, slot=slot, unread=unread, written=written)


def test_nothing_to_do() -> None:
    cancelled = row(0)
    cancelled.is_cancelled = True
    rows = [cancelled, row(1, room=False)]
    assert plan(rows, prefill_tokens=10) is None
    assert next_deadline(rows) is None


def test_a_reply_is_due_at_once_until_its_first_clause_and_then_at_the_pace_of_speech() -> None:
    assert row(0, asked_s=5.0, written=FIRST_CLAUSE_TOKENS).due_s == 5.0
    assert row(0, asked_s=5.0, written=FIRST_CLAUSE_TOKENS + 8).due_s == pytest.approx(5.0 + 8 / SPOKEN_TOKENS_PER_S)


def test_every_reply_that_may_run_takes_part_in_slot_order() -> None:
    late, early, full = row(2, asked_s=1.0), row(1, asked_s=2.0), row(0, room=False)
    step = plan([early, late, full, row(3, asked_s=3.0, unread=4)], prefill_tokens=10)
    assert step == Write([early, late])


def test_a_new_prompt_waits_for_first_clauses_but_not_for_stories() -> None:
    new = row(0, asked_s=2.0, unread=4)
    assert isinstance(plan([new, row(1, asked_s=1.0, written=3)], prefill_tokens=10), Write)
    assert plan([new, row(1, asked_s=1.0, written=100)], prefill_tokens=10) == Read([(new, 4)])


def test_prompts_are_read_in_bounded_pieces_the_oldest_first() -> None:
    old, new, newest = row(0, asked_s=1.0, unread=7), row(1, asked_s=2.0, unread=7), row(2, asked_s=3.0, unread=1)
    assert plan([newest, new, old], prefill_tokens=10) == Read([(old, 7), (new, 3)])
    assert plan([row(0, unread=70)], prefill_tokens=10).parts[0][1] == 10


def test_a_prompt_is_read_even_if_nobody_takes_the_pieces() -> None:
    assert next_deadline([row(0, asked_s=3.0, unread=1, room=False)]) == 3.0
