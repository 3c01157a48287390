"""Which utterances the next step serves: a pure function of their state, with time as a number.

A row is due from the moment it is submitted until its first frame, and after that from the moment its listener has
less than one frame in hand, if playout began with the first frame and never stopped. The earliest due decides
whether the next step prefills prompts or synthesises a frame; once a frame is synthesised, every row that may run
takes part, because a batch costs little more than its most urgent row.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(eq=False, slots=True)
class Row:
    """One utterance. Its flags are written by its listener's thread, all else by the step loop's."""

    submitted_s: float
    prompt_tokens: int  # still to be prefilled
    has_room: Callable[[], bool]  # whether its listener's queue takes another frame: the lead limit
    slot: int = -1
    is_held: bool = False
    is_cancelled: bool = False
    is_prefilled: bool = False
    frames: int = 0  # committed
    dry_s: float = 0.0  # when a listener who never stopped would have played all

    @property
    def is_live(self) -> bool:
        """Whether a frame of it is wanted now."""
        return not (self.is_held or self.is_cancelled)


@dataclass(frozen=True, slots=True)
class Prefill:
    """A step that reads prompts."""

    rows: Sequence[Row]


@dataclass(frozen=True, slots=True)
class Speak:
    """A step that synthesises one frame of each row."""

    rows: Sequence[Row]


Step: TypeAlias = Prefill | Speak


class Scheduler:
    """Gives out slots and plans steps.

    Args:
        slots: utterances at a time.
        largest_batch: rows of one frame step.
        prefill_tokens: prompt tokens of one prefill step, unless its first prompt alone is longer.
        frame_s: duration of a frame.
    """

    def __init__(self, *, slots: int, largest_batch: int, prefill_tokens: int, frame_s: float) -> None:
        self._free = list(reversed(range(slots)))
        self._largest_batch = largest_batch
        self._prefill_tokens = prefill_tokens
        self._frame_s = frame_s
        self._rows: dict[int, Row] = {}

    @property
    def rows(self) -> Sequence[Row]:
        """The rows that have a slot, in order of admission."""
        return list(self._rows.values())

    def admit(self, row: Row) -> bool:
        """Give the row a slot; False if none is free."""
        if not self._free:
            return False
        row.slot = self._free.pop()
        self._rows[row.slot] = row
        return True

    def release(self, row: Row) -> None:
        """Take the row's slot back; the next row admitted may have it."""
        del self._rows[row.slot]
        self._free.append(row.slot)

    def committed(self, row: Row, now_s: float) -> None:
        """A frame of the row goes to its listener."""
        row.frames += 1
        row.dry_s = max(row.dry_s, now_s) + self._frame_s

    def due_s(self, row: Row) -> float:
        """The row's deadline."""
        return row.dry_s - self._frame_s if row.frames else row.submitted_s

    def next_deadline(self) -> float | None:
        """The deadline of the most urgent row that may run; None if there is none."""
        return min((self.due_s(row) for row in self._rows.values() if _may_run(row)), default=None)

    def plan(self) -> Step | None:
        """The next step; None if no row may run."""
        in_order = sorted((row for row in self._rows.values() if _may_run(row)), key=self.due_s)
        if not in_order:
            return None
        if in_order[0].is_prefilled:
            chosen = [row for row in in_order if row.is_prefilled][: self._largest_batch]
            return Speak(sorted(chosen, key=lambda row: row.slot))
        prompts: list[Row] = []
        tokens = 0
        for row in in_order:
            tokens += row.prompt_tokens
            if row.is_prefilled or (prompts and tokens > self._prefill_tokens):
                break
            prompts.append(row)
        return Prefill(prompts)


def _may_run(row: Row) -> bool:
    if row.is_prefilled:
        return row.is_live and row.has_room()
    return not row.is_cancelled  # a held row's prompt is read, so that it can begin at once
