"""One reply of our own engine, from both sides: the request that the step loop works on and what its reader holds."""

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from llm.interface import Ending, EngineBusy, EngineUnreachable, LanguageModelError
from llm.ministral.detokenize import Piece, ReplyPieces
from llm.runtime.loop.errors import EngineErrors
from llm.runtime.loop.stream import Request, RequestStream

FIRST_CLAUSE_TOKENS = 16
SPOKEN_TOKENS_PER_S = 4.0  # 165 words a minute at 1.4 tokens a word

ERRORS = EngineErrors(
    engine="the language model",
    slots="slots",
    retry="ask again",
    cache_setting="cache_tokens",
    failed=LanguageModelError,
    busy=EngineBusy,
    unreachable=EngineUnreachable,
)


@dataclass(eq=False, slots=True, kw_only=True)
class ReplyRequest(Request[Piece]):
    """What the step loop must know of a reply."""

    prompt_ids: Sequence[int]
    seed: int
    temperature: float
    top_p: float
    max_tokens: int  # where it is cut if it does not end
    is_limit_asked: bool  # by its reader, who so expects it to be cut
    pieces: ReplyPieces
    submitted_s: float = field(default_factory=time.monotonic)
    prompt_remaining: int = 0  # ids that are not yet in the cache
    generated: int = 0  # tokens
    is_cut: bool = False
    is_finite: bool = True

    @property
    def due_s(self) -> float | None:
        """Since it was asked for until its first clause is there, and from then on at the pace of speech.

        The listener needs no more, and the device has other calls' clauses and speech to make.
        """
        if self.is_cancelled or not (self.prompt_remaining or self.outlet.has_room):
            return None
        return self.submitted_s + max(0, self.generated - FIRST_CLAUSE_TOKENS) / SPOKEN_TOKENS_PER_S

    @property
    def progress(self) -> int:
        """Tokens may be no piece yet, such as half a tool call."""
        return self.generated - self.prompt_remaining


class MinistralReply(RequestStream[ReplyRequest, Piece]):
    """The reader's side, an `llm.interface.Reply`. Entering it may also raise ContextTooLong."""

    def __init__(
        self, begin: Callable[[], Awaitable[ReplyRequest]], wake: Callable[[], None], *, stall_s: float
    ) -> None:
        """See RequestStream."""
        super().__init__(begin, wake, stall_s=stall_s, errors=ERRORS)

    @property
    def ending(self) -> Ending:
        """How it ended; the step loop no longer changes a request that is finished."""
        request = self._request
        return Ending() if request is None else Ending(request.is_cut, len(request.prompt_ids), request.generated)
