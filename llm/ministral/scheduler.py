"""Which replies the next step serves: a pure function of their state, with time as a number.

A reply is due when it was asked for until its first clause is written, and from then on at the pace of speech: the
listener needs no more, and the device has other calls' clauses and speech to make. Work that is not yet due is done
all the same when nothing else is. The earliest due decides whether the next step reads prompts or writes a token;
then every reply that may run takes part, because a batch costs little more than its most urgent row.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

FIRST_CLAUSE_TOKENS = 16
SPOKEN_TOKENS_PER_S = 4.0  # 165 words a minute at 1.4 tokens a word


@dataclass(eq=False, slots=True)
class Row:
    """One reply. `is_cancelled` is written by its reader's thread, all else by the step loop's."""

    submitted_s: float
    has_room: Callable[[], bool]  # whether its reader takes more pieces
    slot: int = -1
    unread: int = 0  # ids of the prompt that are not yet in the cache
    written: int = 0  # tokens
    is_cancelled: bool = False

    @property
    def due_s(self) -> float:
        """When its next token should be there."""
        return self.submitted_s + max(0, self.written - FIRST_CLAUSE_TOKENS) / SPOKEN_TOKENS_PER_S

    @property
    def may_run(self) -> bool:
        """Whether a step can do something for it."""
        return not self.is_cancelled and (self.unread > 0 or self.has_room())


@dataclass(frozen=True, slots=True)
class Read:
    """A step that reads prompts: so many ids of each of these rows."""

    parts: Sequence[tuple[Row, int]]


@dataclass(frozen=True, slots=True)
class Write:
    """A step that writes one token of each row."""

    rows: Sequence[Row]


Step: TypeAlias = Read | Write


def next_deadline(rows: Sequence[Row]) -> float | None:
    """When the most urgent row is due; None if none may run."""
    return min((row.due_s for row in rows if row.may_run), default=None)


def plan(rows: Sequence[Row], *, prefill_tokens: int) -> Step | None:
    """The next step, of at most so many ids if it reads; None if no row may run."""
    in_order = sorted((row for row in rows if row.may_run), key=lambda row: row.due_s)
    if not in_order:
        return None
    if not in_order[0].unread:
        return Write(sorted((row for row in in_order if not row.unread), key=lambda row: row.slot))
    parts: list[tuple[Row, int]] = []
    left = prefill_tokens
    for row in in_order:
        if row.unread and left:
            parts.append((row, min(row.unread, left)))
            left -= parts[-1][1]
    return Read(parts)
