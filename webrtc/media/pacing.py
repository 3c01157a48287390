"""When each packet of a steady stream is due; clocked from outside."""


class Pacer:
    """The n-th packet is due n intervals after the first, so the stream neither drifts nor gathers delay.

    After a stall the overdue packets leave at once; after a long one the schedule is restarted instead, because a
    burst that no jitter buffer holds is worth less than none.
    """

    def __init__(self, *, interval_s: float, max_late_s: float) -> None:
        self.restarts = 0  # stalls that were too long to catch up with
        self._interval_s = interval_s
        self._max_late_s = max_late_s
        self._start_s: float | None = None
        self._count = 0

    def next_due_s(self, now_s: float) -> float:
        """When the next packet is due; in the past while it is overdue."""
        if self._start_s is None:
            self._start_s = now_s
        due_s = self._start_s + self._count * self._interval_s
        if now_s - due_s > self._max_late_s:
            self.restarts += 1
            self._start_s, self._count = now_s, 0
            due_s = now_s
        self._count += 1
        return due_s
