"""A step of an engine: its parts in order, and its results on the host."""

from collections.abc import Callable

import torch
from torch import Tensor

from llm.runtime.loop.captured_step import CapturedStep, CapturedSteps
from llm.runtime.loop.graphs import GraphPool

CPU = torch.device("cpu")


class Doubling:
    """Writes one to each row, then doubles it."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.values = torch.zeros(size)
        self.parts: list[Callable[[], None]] = [self.one, self.double]
        self.results: list[Tensor] = [self.values]

    def one(self) -> None:
        self.values.fill_(1.0)

    def double(self) -> None:
        self.values.mul_(2.0)


def test_all_parts_run_in_order_and_on_a_cpu_the_results_are_the_batch_s_own() -> None:
    step = CapturedStep(Doubling(3), GraphPool(CPU))
    assert step.run()[0] is step.batch.values
    assert step.batch.values.tolist() == [2.0] * 3


def test_the_smallest_batch_with_room_is_chosen_and_the_largest_is_captured_first() -> None:
    made: list[int] = []

    def make(size: int) -> Doubling:
        made.append(size)
        return Doubling(size)

    steps = CapturedSteps((1, 4, 2, 4), make, CPU)
    assert made == [4, 2, 1]
    assert [step.batch.size for step in steps] == [1, 2, 4]
    assert [steps.of(rows).batch.size for rows in (1, 2, 3, 4)] == [1, 2, 4, 4]
    assert steps.largest == 4
