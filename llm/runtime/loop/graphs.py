"""Work on static buffers, captured once as a CUDA graph and then replayed; on a CPU it simply runs.

The work takes no arguments and returns nothing: it reads and writes tensors that were allocated before, never
synchronizes with the host and never looks at a value. What must outlive it is copied into such a tensor, because all
graphs of a pool share the memory of their intermediate results: they may only be replayed one after the other.
"""

from collections.abc import Callable

import torch

_WARM_UPS = 2  # libraries choose kernels and allocate workspaces on the first runs, which must not be captured


class GraphPool:
    """Captures work for one device. Used by the step loop's thread alone."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        on_cuda = device.type == "cuda"
        self._memory = torch.cuda.graph_pool_handle() if on_cuda else None
        # Memory is shared on one stream only; torch's own for captures belongs to the device that captured first.
        self._stream = torch.cuda.Stream(device) if on_cuda else None

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        """A function that does the same work: a graph's replay on CUDA, `work` itself elsewhere.

        On CUDA the work is run a few times first, so its static buffers must hold valid input and its effects on
        state must not matter (let every row point at the idle slot).
        """
        if self._stream is None:
            return work
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):
            for _ in range(_WARM_UPS):
                work()
        torch.cuda.current_stream(self._device).wait_stream(self._stream)
        graph = torch.cuda.CUDAGraph()
        # the loop of another GPU may allocate meanwhile: "thread_local"
        with torch.cuda.graph(graph, pool=self._memory, stream=self._stream, capture_error_mode="thread_local"):
            work()
        return graph.replay


def buckets(largest: int) -> tuple[int, ...]:
    """Batch sizes to capture: the powers of two below `largest`, and `largest`."""
    powers = [1 << exponent for exponent in range((largest - 1).bit_length())]
    return (*powers, largest)
