"""Which utterances the next step serves: a pure function of their state, with time as a number.

The earliest due decides whether the next step reads prompts or synthesizes a frame; once a frame is synthesized, every
utterance that is ready takes part, because a batch costs little more than its most urgent row.
"""

from collections.abc import Iterable

from llm.runtime.loop.plan import Decode, Prefill, by_urgency
from tts.voxtral.utterance import UtteranceRequest


def plan(
    requests: Iterable[UtteranceRequest], *, largest_batch: int, prefill_tokens: int
) -> Prefill[UtteranceRequest] | Decode[UtteranceRequest] | None:
    """The next step; None if there is nothing to do.

    Args:
        requests: those that have a slot.
        largest_batch: rows of one frame step.
        prefill_tokens: text tokens of one prefill step, unless its first text alone is longer.
    """
    in_order = by_urgency(requests)
    if not in_order:
        return None
    if in_order[0].is_prefilled:
        ready = [request for request in in_order if request.is_prefilled][:largest_batch]
        return Decode(sorted(ready, key=lambda request: request.slot))
    parts: list[tuple[UtteranceRequest, int]] = []
    left = prefill_tokens
    for request in in_order:
        left -= len(request.text_ids)
        if request.is_prefilled or (parts and left < 0):
            break
        parts.append((request, len(request.text_ids)))
    return Prefill(parts)
