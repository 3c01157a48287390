"""The language engine on the step loop's thread: reads prompts, and generates a token of every reply at a time.

A reply is never moved to a smaller batch, now or later: sums depend on the shape of a batch, so cancelling one reply
leaves the bits of the others alone.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from llm.interface import LanguageModelError
from llm.ministral.chat_format import ChatSpecialTokens
from llm.ministral.model import Ministral
from llm.ministral.reply import ERRORS, ReplyRequest
from llm.ministral.scheduler import plan
from llm.ministral.slots import ReplySlots
from llm.ministral.token_step import FAILED, TokenBatch, generate
from llm.runtime.cache import CacheFull
from llm.runtime.loop.captured_step import CapturedSteps
from llm.runtime.loop.outlet import Outlets
from llm.runtime.loop.plan import Decode, Prefill
from llm.runtime.loop.stepper import RequestStepper

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class ReplyCounters:
    """What the stepper has done since it was made."""

    replies: int = 0
    prompt_tokens: int = 0  # of all prompts
    reused_tokens: int = 0  # of these, found in the cache
    prefills: int = 0  # steps
    decodes: int = 0  # steps
    tokens: int = 0  # generated


class ReplyStepper(RequestStepper[ReplyRequest, ReplySlots]):
    """Serves replies; see RequestStepper.

    Args:
        slots: the state of all replies.
        outlets: the way to the readers.
        special_tokens: where a reply ends.
        batches: sizes of the token step; rows are padded up to the next. The largest has room for every slot.
        prefill_tokens: prompt ids read in one step.
    """

    errors = ERRORS

    def __init__(
        self,
        slots: ReplySlots,
        outlets: Outlets,
        special_tokens: ChatSpecialTokens,
        *,
        batches: Sequence[int],
        prefill_tokens: int,
    ) -> None:
        super().__init__(slots, outlets)
        self.counters = ReplyCounters()
        self._special_tokens = special_tokens
        self._prefill_tokens = prefill_tokens
        self._steps = CapturedSteps(batches, lambda size: TokenBatch(slots, size), slots.device)
        assert self._steps.largest >= slots.count

    @property
    def model(self) -> Ministral:
        """What writes."""
        return self._slots.model

    def fail(self, error: Exception) -> None:
        """See Steppable."""
        for request in self._requests.values():
            request.is_finite = False
        super().fail(error)
        self._slots.prefixes.clear()

    def _open(self, request: ReplyRequest) -> Exception | None:
        """Give the prompt its place in the cache, if there is room for the reply behind it as well."""
        slots, slot = self._slots, request.slot
        try:
            reused = slots.open(slot, request.prompt_ids, request.seed, request.temperature, request.top_p)
        except (CacheFull, torch.OutOfMemoryError):
            return self.errors.cache_full()
        promised = sum(map(self._pages_needed, self._requests.values()))
        if promised + self._pages_needed(request) > slots.free_pages:
            slots.free(slot)
            return self.errors.cache_full()
        request.prompt_remaining = slots.prompt_remaining(slot)
        self.counters.replies += 1
        self.counters.prompt_tokens += len(request.prompt_ids)
        self.counters.reused_tokens += reused
        return None

    def _pages_needed(self, request: ReplyRequest) -> int:
        """Cache pages that the request may still take."""
        return self._slots.pages_needed(request.slot, len(request.prompt_ids) + request.max_tokens)

    def _serve(self, requests: Sequence[ReplyRequest]) -> None:
        step = plan(requests, prefill_tokens=self._prefill_tokens)
        if isinstance(step, Prefill):
            self._prefill(step.parts)
        elif isinstance(step, Decode):
            self._decode(step.requests)

    def _prefill(self, parts: Sequence[tuple[ReplyRequest, int]]) -> None:
        self._slots.prefill([(request.slot, tokens) for request, tokens in parts])
        self.counters.prefills += 1
        for request, tokens in parts:
            request.prompt_remaining -= tokens

    def _decode(self, requests: Sequence[ReplyRequest]) -> None:
        requests = [request for request in requests if self._reserve(request)]
        if not requests:
            return
        step = self._steps.of(max(len(requests), *(request.batch_size for request in requests)))
        tokens = generate(step, [request.slot for request in requests])
        self.counters.decodes += 1
        for request, token in zip(requests, tokens, strict=True):
            request.batch_size = step.batch.size
            self._add(request, token)

    def _add(self, request: ReplyRequest, token: int) -> None:
        if token == FAILED:
            _log.error("a reply became NaN after %d tokens", request.generated)
            request.is_finite = False
            self._end(request, self.errors.became_nan())
            self._slots.prefixes.clear()  # its beginning may be why
            return
        self._slots.add(request.slot, token)
        self.counters.tokens += 1
        request.generated += 1
        if token == self._special_tokens.end:
            self._finish(request)
            return
        for piece in request.pieces.add(token):
            self._outlets.send(request.outlet, piece)
        if request.generated >= request.max_tokens:
            self._cut(request)

    def _finish(self, request: ReplyRequest) -> None:
        for piece in request.pieces.end():
            self._outlets.send(request.outlet, piece)
        self._end(request)

    def _cut(self, request: ReplyRequest) -> None:
        """The reply is as long as one may be. Half a tool call is not run."""
        request.is_cut = True
        error = None
        if not request.is_limit_asked:
            _log.warning("a reply was cut after %d tokens", request.generated)
            if request.pieces.is_in_call:
                error = LanguageModelError(
                    f"a tool call was incomplete after {request.max_tokens} tokens: raise reply_tokens"
                )
        self._end(request, error)

    def _close(self, request: ReplyRequest) -> None:
        self._slots.free(request.slot, is_finite=request.is_finite)
