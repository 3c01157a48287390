"""Which replies the next step serves: a pure function of their state, with time as a number.

The earliest due decides whether the next step reads prompts or generates a token; then every reply for which that can
be done takes part, because a batch costs little more than its most urgent row. What is not yet due is done all the
same when nothing else is.
"""

from collections.abc import Iterable

from llm.ministral.reply import ReplyRequest
from llm.runtime.loop.plan import Decode, Prefill, by_urgency


def plan(
    requests: Iterable[ReplyRequest], *, prefill_tokens: int
) -> Prefill[ReplyRequest] | Decode[ReplyRequest] | None:
    """The next step, of at most so many ids if it reads prompts; None if there is nothing to do."""
    in_order = by_urgency(requests)
    if not in_order:
        return None
    if not in_order[0].prompt_remaining:
        ready = (request for request in in_order if not request.prompt_remaining)
        return Decode(sorted(ready, key=lambda request: request.slot))
    parts: list[tuple[ReplyRequest, int]] = []
    left = prefill_tokens
    for request in in_order:
        if tokens := min(request.prompt_remaining, left):
            parts.append((request, tokens))
            left -= tokens
    return Prefill(parts)
