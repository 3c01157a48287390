"""Which utterances a step serves, in virtual time, with listeners who play a frame every 80 ms."""

from dataclasses import dataclass, field

import pytest

from llm.runtime.loop.plan import Decode, Prefill
from tts.voxtral.scheduler import plan
from tts.voxtral.utterance import UtteranceRequest

FRAME_S = 0.08
LEAD_FRAMES = 4


@dataclass
class Listener:
    """Takes a frame every 80 ms from its first; counts how often there was none."""

    request: UtteranceRequest
    underruns: int = 0
    next_s: float | None = None

    @property
    def heard(self) -> int:
        return self.request.outlet.taken

    def advance(self, now_s: float) -> None:
        while self.next_s is not None and self.next_s <= now_s:
            if self.request.outlet.sent > self.heard:
                self.request.outlet.taken += 1
            else:
                self.underruns += 1
            self.next_s += FRAME_S


@dataclass
class Machine:
    """Virtual time: runs the planned steps, each with a duration."""

    largest_batch: int = 8
    prefill_tokens: int = 100
    step_s: float = 0.01
    now_s: float = 0.0
    listeners: list[Listener] = field(default_factory=list)
    log: list[str] = field(default_factory=list)

    def submit(self, tokens: int = 10) -> UtteranceRequest:
        request = UtteranceRequest.of(
            "x",
            range(tokens),
            voice="casual_male",
            seed=0,
            sample_rate_hz=24000,
            expected_frames=1,
            max_frames=1000,
            lead_frames=LEAD_FRAMES,
            wake=lambda: None,
        )
        request.submitted_s, request.slot = self.now_s, len(self.listeners)
        self.listeners.append(Listener(request))
        return request

    def plan(self) -> Prefill[UtteranceRequest] | Decode[UtteranceRequest] | None:
        requests = [listener.request for listener in self.listeners]
        return plan(requests, largest_batch=self.largest_batch, prefill_tokens=self.prefill_tokens)

    def step(self) -> bool:
        step = self.plan()
        self.now_s += self.step_s
        for listener in self.listeners:
            listener.advance(self.now_s)
        if isinstance(step, Prefill):
            for request, _ in step.parts:
                request.is_prefilled = True
            self.log.append(f"prefill {len(step.parts)}")
        elif isinstance(step, Decode):
            for request in step.requests:
                request.commit_frame(self.now_s, FRAME_S)
                request.outlet.sent += 1
                listener = self.listeners[request.slot]
                listener.next_s = self.now_s if listener.next_s is None else listener.next_s
            self.log.append(f"decode {len(step.requests)}")
        return step is not None

    def decoded_slots(self) -> list[int]:
        step = self.plan()
        assert isinstance(step, Decode)
        return [request.slot for request in step.requests]


def test_a_new_utterance_is_prefilled_then_speaks_its_first_frame() -> None:
    machine = Machine()
    machine.submit()
    assert machine.step()
    assert machine.step()
    assert machine.log == ["prefill 1", "decode 1"]


def test_an_utterance_runs_only_so_far_ahead_of_its_listener() -> None:
    machine = Machine(step_s=0.001)
    request = machine.submit()
    while machine.step():
        pass
    (listener,) = machine.listeners
    assert request.frames == LEAD_FRAMES + listener.heard
    machine.now_s += FRAME_S
    listener.advance(machine.now_s)
    assert machine.step()


def test_held_and_cancelled_utterances_do_not_run() -> None:
    machine = Machine()
    held, cancelled, other = (machine.submit() for _ in range(3))
    machine.step()
    held.is_held = cancelled.is_cancelled = True
    assert machine.decoded_slots() == [other.slot]
    held.is_held = False
    assert machine.decoded_slots() == [held.slot, other.slot]


def test_a_held_utterance_is_prefilled_but_does_not_speak() -> None:
    machine = Machine()
    machine.submit().is_held = True
    assert machine.step()
    assert not machine.step()
    assert machine.log == ["prefill 1"]


def test_the_earliest_deadline_is_served_when_the_batch_is_full() -> None:
    machine = Machine(largest_batch=2)
    requests = [machine.submit() for _ in range(4)]
    machine.step()
    for request, next_frame_s in zip(requests, (5.0, 1.0, 3.0, 2.0), strict=True):
        request.frames, request.next_frame_s = 1, next_frame_s
    assert machine.decoded_slots() == [requests[1].slot, requests[3].slot]


def test_a_listener_who_has_run_dry_is_due_at_once() -> None:
    request = Machine().submit()
    request.is_prefilled = True
    for now_s, due_s in ((1.0, 1.0), (1.01, 1.0 + FRAME_S), (1.02, 1.0 + 2 * FRAME_S), (3.0, 3.0)):
        request.commit_frame(now_s, FRAME_S)
        assert request.due_s == pytest.approx(due_s)


def test_prompts_are_packed_up_to_the_budget_and_a_long_one_goes_alone() -> None:
    machine = Machine(prefill_tokens=100)
    for tokens in (60, 40, 1, 500, 2):
        machine.now_s += 0.001
        machine.submit(tokens)
    plans: list[list[int]] = []
    while isinstance(step := machine.plan(), Prefill):
        plans.append([tokens for _, tokens in step.parts])
        for request, _ in step.parts:
            request.is_prefilled = request.is_held = True
    assert plans == [[60, 40], [1], [500], [2]]


def test_newcomers_do_not_starve_those_who_speak() -> None:
    """One newcomer every 20 ms, as much as the machine can prefill beside one frame step, for two seconds."""
    machine = Machine(largest_batch=200)
    machine.submit()
    for _ in range(100):
        machine.submit()
        for _ in range(2):
            machine.step()
    assert sum(listener.underruns for listener in machine.listeners) == 0


@pytest.mark.parametrize("step_s", [0.005, 0.02, 0.035])
def test_every_call_is_fed_in_time_while_two_steps_fit_the_beat(step_s: float) -> None:
    calls = 64
    machine = Machine(largest_batch=calls, prefill_tokens=160, step_s=step_s)
    for _ in range(calls):
        machine.submit()
    while machine.now_s < 5.0:
        machine.step()
    assert sum(listener.underruns for listener in machine.listeners) == 0
    assert min(listener.heard for listener in machine.listeners) >= 40
