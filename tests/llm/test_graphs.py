import pytest
import torch

from llm.graphs import GraphPool, buckets


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
