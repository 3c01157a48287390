"""Which replies a step serves: first clauses at once, then at the pace of speech, prompts in bounded pieces."""

import pytest

from llm.ministral.chat_format import ChatSpecialTokens
from llm.ministral.detokenize import ReplyPieces
from llm.ministral.reply import FIRST_CLAUSE_TOKENS, SPOKEN_TOKENS_PER_S, ReplyRequest
from llm.ministral.scheduler import plan
from llm.runtime.loop.outlet import Outlet
from llm.runtime.loop.plan import Decode, Prefill


def reply(
    slot: int, *, asked_s: float = 0.0, prompt_remaining: int = 0, generated: int = 0, room: bool = True
) -> ReplyRequest:
    return ReplyRequest(
        outlet=Outlet(int(room), on_taken=lambda: None),
        prompt_ids=(),
        seed=0,
        temperature=0.0,
        top_p=1.0,
        max_tokens=100,
        is_limit_asked=False,
        pieces=ReplyPieces(ChatSpecialTokens(2, 9, 32), lambda _: b""),
        submitted_s=asked_s,
        slot=slot,
        prompt_remaining=prompt_remaining,
        generated=generated,
    )


def test_nothing_to_do() -> None:
    cancelled = reply(0)
    cancelled.is_cancelled = True
    assert cancelled.due_s is None
    assert plan([cancelled, reply(1, room=False)], prefill_tokens=10) is None


def test_a_reply_is_due_at_once_until_its_first_clause_and_then_at_the_pace_of_speech() -> None:
    assert reply(0, asked_s=5.0, generated=FIRST_CLAUSE_TOKENS).due_s == 5.0
    later = reply(0, asked_s=5.0, generated=FIRST_CLAUSE_TOKENS + 8)
    assert later.due_s == pytest.approx(5.0 + 8 / SPOKEN_TOKENS_PER_S)


def test_every_reply_that_may_run_takes_part_in_slot_order() -> None:
    late, early, full = reply(2, asked_s=1.0), reply(1, asked_s=2.0), reply(0, room=False)
    step = plan([early, late, full, reply(3, asked_s=3.0, prompt_remaining=4)], prefill_tokens=10)
    assert step == Decode([early, late])


def test_a_new_prompt_waits_for_first_clauses_but_not_for_stories() -> None:
    new = reply(0, asked_s=2.0, prompt_remaining=4)
    assert isinstance(plan([new, reply(1, asked_s=1.0, generated=3)], prefill_tokens=10), Decode)
    assert plan([new, reply(1, asked_s=1.0, generated=100)], prefill_tokens=10) == Prefill([(new, 4)])


def test_prompts_are_read_in_bounded_pieces_the_oldest_first() -> None:
    old, new, newest = (reply(slot, asked_s=slot, prompt_remaining=left) for slot, left in enumerate((7, 7, 1)))
    assert plan([newest, new, old], prefill_tokens=10) == Prefill([(old, 7), (new, 3)])
    long = reply(0, prompt_remaining=70)
    assert plan([long], prefill_tokens=10) == Prefill([(long, 10)])


def test_a_prompt_is_read_even_if_no_reader_takes_the_pieces() -> None:
    assert reply(0, asked_s=3.0, prompt_remaining=1, room=False).due_s == 3.0
