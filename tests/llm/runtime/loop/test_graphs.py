from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import pytest
import torch

from llm.runtime.loop.graphs import GraphPool, buckets


@pytest.mark.parametrize(
    ("largest", "sizes"), [(1, (1,)), (2, (1, 2)), (6, (1, 2, 4, 6)), (256, (1, 2, 4, 8, 16, 32, 64, 128, 256))]
)
def test_buckets_double_up_to_the_largest(largest: int, sizes: tuple[int, ...]) -> None:
    assert buckets(largest) == sizes


def add_one(device: torch.device) -> tuple[torch.Tensor, GraphPool]:
    return torch.zeros(3, device=device), GraphPool(device)


def test_on_a_cpu_the_work_itself_runs() -> None:
    values, pool = add_one(torch.device("cpu"))

    def work() -> None:
        values.add_(1)

    run = pool.capture(work)
    assert values.tolist() == [0, 0, 0]
    run()
    run()
    assert values.tolist() == [2, 2, 2]


def test_all_captures_of_a_pool_share_one_stream_and_so_their_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    captures: list[tuple[object, object]] = []

    class Stream:
        def __init__(self, device: object = None) -> None:
            pass

        def wait_stream(self, other: object) -> None:
            pass

    class Graph:
        def replay(self) -> None:
            pass

    @contextmanager
    def graph(_: Graph, *, pool: object, stream: object, capture_error_mode: str) -> Iterator[None]:
        captures.append((pool, stream))
        yield

    for name, fake in (
        ("graph_pool_handle", object), ("Stream", Stream), ("current_stream", Stream), ("CUDAGraph", Graph),
        ("stream", nullcontext), ("graph", graph),
    ):  # fmt: skip
        monkeypatch.setattr(torch.cuda, name, fake)
    pool = GraphPool(torch.device("cuda", 1))
    runs: list[int] = []
    for number in range(3):
        pool.capture(lambda number=number: runs.append(number))
    assert len(captures) == 3
    assert len(set(captures)) == 1
    assert runs.count(2) > 1  # warmed up, then captured


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_replay_does_what_the_work_does() -> None:
    values, pool = add_one(torch.device("cuda"))
    other = torch.ones(3, device="cuda")

    def first() -> None:
        values.add_(other * 2)

    def second() -> None:
        values.mul_(other + 1)

    runs = [pool.capture(first), pool.capture(second)]
    values.zero_()
    for run in runs * 2:
        run()
    assert values.tolist() == [12, 12, 12]  # ((0 + 2) * 2 + 2) * 2
