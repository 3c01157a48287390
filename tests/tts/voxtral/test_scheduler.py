from dataclasses import dataclass, field

import pytest

from tts.voxtral.scheduler import Prefill, Row, Scheduler, Speak

FRAME_S = 0.08
LEAD_FRAMES = 4


@dataclass
class Listener:
    """Takes a frame every 80 ms from its first; counts how often there was none."""

    waiting: int = 0
    heard: int = 0
    underruns: int = 0
    next_s: float | None = None

    def has_room(self) -> bool:
        return self.waiting < LEAD_FRAMES

    def advance(self, now_s: float) -> None:
        while self.next_s is not None and self.next_s <= now_s:
            if self.waiting:
                self.waiting -= 1
                self.heard += 1
            else:
                self.underruns += 1
            self.next_s += FRAME_S


@dataclass
class Machine:
    """Virtual time: runs the planned steps, each with a duration."""

    scheduler: Scheduler
    step_s: float = 0.01
    now_s: float = 0.0
    listeners: dict[Row, Listener] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)

    def submit(self, tokens: int = 10) -> Row:
        listener = Listener()
        row = Row(submitted_s=self.now_s, prompt_tokens=tokens, has_room=listener.has_room)
        assert self.scheduler.admit(row)
        self.listeners[row] = listener
        return row

    def step(self) -> bool:
        plan = self.scheduler.plan()
        assert (plan is None) == (self.scheduler.next_deadline() is None)
        self.now_s += self.step_s
        for listener in self.listeners.values():
            listener.advance(self.now_s)
        for row in plan.rows if plan else ():
            if isinstance(plan, Prefill):
                row.is_prefilled = True
            else:
                listener = self.listeners[row]
                self.scheduler.committed(row, self.now_s)
                listener.waiting += 1
                if listener.next_s is None:
                    listener.next_s = self.now_s
        if plan:
            self.log.append(f"{type(plan).__name__.lower()} {len(plan.rows)}")
        return plan is not None


def scheduler(*, slots: int = 8, largest_batch: int = 8, prefill_tokens: int = 100) -> Scheduler:
    return Scheduler(slots=slots, largest_batch=largest_batch, prefill_tokens=prefill_tokens, frame_s=FRAME_S)


def slots_of(plan: object) -> list[int]:
    assert isinstance(plan, Prefill | Speak)
    return [row.slot for row in plan.rows]


def test_a_new_row_is_prefilled_then_speaks_its_first_frame() -> None:
    machine = Machine(scheduler())
    machine.submit()
    assert machine.step()
    assert machine.step()
    assert machine.log == ["prefill 1", "speak 1"]


def test_slots_are_refused_when_taken_and_given_again_when_released() -> None:
    machine = Machine(scheduler(slots=2))
    first, second = machine.submit(), machine.submit()
    extra = Row(submitted_s=0.0, prompt_tokens=1, has_room=lambda: True)
    assert not machine.scheduler.admit(extra)
    machine.scheduler.release(first)
    assert machine.scheduler.admit(extra)
    assert extra.slot == first.slot
    assert list(machine.scheduler.rows) == [second, extra]


def test_a_row_runs_only_so_far_ahead_of_its_listener() -> None:
    machine = Machine(scheduler(), step_s=0.001)
    row = machine.submit()
    while machine.step():
        pass
    listener = machine.listeners[row]
    assert row.frames == LEAD_FRAMES + listener.heard
    machine.now_s += FRAME_S
    listener.advance(machine.now_s)
    assert machine.step()


def test_held_and_cancelled_rows_do_not_run() -> None:
    machine = Machine(scheduler())
    held, cancelled, other = (machine.submit() for _ in range(3))
    machine.step()
    held.is_held = cancelled.is_cancelled = True
    assert slots_of(machine.scheduler.plan()) == [other.slot]
    held.is_held = False
    assert slots_of(machine.scheduler.plan()) == [held.slot, other.slot]


def test_a_held_row_is_prefilled_but_does_not_speak() -> None:
    machine = Machine(scheduler())
    machine.submit().is_held = True
    assert machine.step()
    assert not machine.step()
    assert machine.log == ["prefill 1"]


def test_the_earliest_deadline_is_served_when_the_batch_is_full() -> None:
    machine = Machine(scheduler(largest_batch=2))
    rows = [machine.submit() for _ in range(4)]
    machine.step()
    for row, dry_s in zip(rows, (5.0, 1.0, 3.0, 2.0), strict=True):
        row.frames, row.dry_s = 1, dry_s
    assert slots_of(machine.scheduler.plan()) == [rows[1].slot, rows[3].slot]
    assert machine.scheduler.next_deadline() == pytest.approx(1.0 - FRAME_S)


def test_prompts_are_packed_up_to_the_budget_and_a_long_one_goes_alone() -> None:
    machine = Machine(scheduler(prefill_tokens=100))
    for tokens in (60, 40, 1, 500, 2):
        machine.now_s += 0.001
        machine.submit(tokens)
    plans = []
    while isinstance(plan := machine.scheduler.plan(), Prefill):
        plans.append([row.prompt_tokens for row in plan.rows])
        for row in plan.rows:
            row.is_prefilled = row.is_held = True
    assert plans == [[60, 40], [1], [500], [2]]


def test_newcomers_do_not_starve_those_who_speak() -> None:
    """One newcomer every 20 ms, as much as the machine can prefill beside one frame step, for two seconds."""
    machine = Machine(scheduler(slots=200, largest_batch=200))
    speaker = machine.submit()
    for _ in range(100):
        machine.submit()
        for _ in range(2):
            machine.step()
    assert machine.listeners[speaker].underruns == 0
    assert sum(listener.underruns for listener in machine.listeners.values()) == 0


@pytest.mark.parametrize(("step_s", "calls"), [(0.005, 64), (0.02, 64), (0.035, 64)])
def test_every_call_is_fed_in_time_while_two_steps_fit_the_beat(step_s: float, calls: int) -> None:
    machine = Machine(scheduler(slots=calls, largest_batch=calls, prefill_tokens=160), step_s=step_s)
    for _ in range(calls):
        machine.submit()
    while machine.now_s < 5.0:
        machine.step()
    assert sum(listener.underruns for listener in machine.listeners.values()) == 0
    assert min(listener.heard for listener in machine.listeners.values()) >= 40
