"""An engine's step of one batch size: its parts captured where there is a GPU, and its results' way to the host."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Generic, Protocol, TypeVar

import torch
from torch import Tensor

from llm.runtime.loop.graphs import GraphPool
from llm.runtime.loop.transfer import on_host


class Batch(Protocol):
    """Static buffers for a step of up to `size` rows, all of them idle when it is made."""

    size: int

    @property
    def parts(self) -> Sequence[Callable[[], None]]:
        """The work of a step, in order; see `llm.runtime.loop.graphs` for what it may do."""
        ...

    @property
    def results(self) -> Sequence[Tensor]:
        """Where the work leaves what the host wants to know."""
        ...


B = TypeVar("B", bound=Batch)


class CapturedStep(Generic[B]):
    """A batch whose work can be launched.

    Attributes:
        batch: the buffers, to be filled before the work is launched.
        parts: the batch's own, captured where there is a GPU.
        results: the batch's own on the host, valid once a `fetch` is waited for.
    """

    def __init__(self, batch: B, pool: GraphPool) -> None:
        self.batch = batch
        self.parts = [pool.capture(part) for part in batch.parts]
        self.results = [on_host(result) for result in batch.results]

    def run(self) -> Sequence[Tensor]:
        """All parts one after the other, and their results."""
        for part in self.parts:
            part()
        self.fetch()()
        return self.results

    def fetch(self) -> Callable[[], None]:
        """Start the transfer of the results; the function returned waits for it."""
        computed = self.batch.results
        if computed[0].device.type == "cpu":
            return lambda: None
        for host, device in zip(self.results, computed, strict=True):
            host.copy_(device, non_blocking=True)
        arrived = torch.cuda.Event()
        arrived.record()
        return arrived.synchronize


class CapturedSteps(Generic[B]):
    """A step for each batch size, smallest first. The largest is captured first: the others share its memory."""

    def __init__(self, sizes: Iterable[int], make: Callable[[int], B], device: torch.device) -> None:
        pool = GraphPool(device)
        self._steps = [CapturedStep(make(size), pool) for size in sorted(set(sizes), reverse=True)][::-1]

    def __iter__(self) -> Iterator[CapturedStep[B]]:
        return iter(self._steps)

    @property
    def largest(self) -> int:
        """Rows of the largest batch."""
        return self._steps[-1].batch.size

    def of(self, rows: int) -> CapturedStep[B]:
        """The smallest step that has room for so many rows; the others of its batch are idle."""
        return next(step for step in self._steps if step.batch.size >= rows)
