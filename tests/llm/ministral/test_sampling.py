"""Sampling: the distribution that was asked for, row by row."""

import torch

from llm.ministral.sampling import sample

LOGITS = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()


def draws(temperature: float, top_p: float, count: int = 4000) -> torch.Tensor:
    uniform = (torch.arange(count) + 0.5) / count
    tokens = sample(LOGITS.expand(count, -1), torch.full((count,), temperature), torch.full((count,), top_p), uniform)
    return torch.bincount(tokens, minlength=4) / count


def test_zero_temperature_is_the_most_likely_token() -> None:
    assert draws(0.0, 1.0).tolist() == [1.0, 0.0, 0.0, 0.0]


def test_temperature_one_is_the_distribution_itself() -> None:
    torch.testing.assert_close(draws(1.0, 1.0), LOGITS.exp(), atol=1e-3, rtol=0)


def test_low_temperature_sharpens() -> None:
    expected = (LOGITS / 0.5).softmax(-1)
    torch.testing.assert_close(draws(0.5, 1.0), expected, atol=1e-3, rtol=0)


def test_the_lowest_temperature_is_the_most_likely_token() -> None:
    for temperature in (1e-6, 1e-30, 1e-45):
        assert draws(temperature, 1.0).tolist() == [1.0, 0.0, 0.0, 0.0]
    logits = torch.tensor([[30.0, 90.0, 60.0]])
    assert sample(logits, torch.tensor([1e-45]), torch.ones(1), torch.tensor([0.99])).tolist() == [1]


def test_what_is_not_a_number_gives_some_token() -> None:
    logits = torch.full((2, 5), torch.nan)
    tokens = sample(logits, torch.tensor([0.0, 0.7]), torch.ones(2), torch.tensor([0.0, 0.99]))
    assert ((0 <= tokens) & (tokens < 5)).all()


def test_top_p_keeps_the_fewest_tokens_that_reach_it() -> None:
    torch.testing.assert_close(draws(1.0, 0.7), torch.tensor([0.625, 0.375, 0.0, 0.0]), atol=1e-3, rtol=0)
    assert draws(1.0, 1e-6).tolist() == [1.0, 0.0, 0.0, 0.0]


def test_top_p_keeps_what_sorting_would_keep() -> None:
    logits = torch.randn(60, generator=torch.Generator().manual_seed(1)) * 2
    likely, order = logits.softmax(-1).sort(descending=True)
    for top_p in (0.05, 0.4, 0.8, 0.97, 1.0):
        fewest = int((likely.cumsum(-1) - likely < top_p).sum())
        uniform = torch.arange(20_000) / 20_000
        drawn = sample(logits.expand(20_000, -1), torch.ones(20_000), torch.full((20_000,), top_p), uniform)
        assert set(drawn.tolist()) == set(order[:fewest].tolist())


def test_top_p_keeps_those_as_likely_as_the_last() -> None:
    uniform = torch.arange(1000) / 1000
    drawn = sample(torch.zeros(1000, 4), torch.ones(1000), torch.full((1000,), 0.3), uniform)
    assert set(drawn.tolist()) == {0, 1, 2, 3}


def test_a_row_does_not_depend_on_the_others() -> None:
    torch.manual_seed(0)
    logits, uniform = torch.randn(6, 50), torch.rand(6)
    temperature, top_p = torch.tensor([0.0, 0.3, 1.0, 2.0, 0.7, 0.0]), torch.tensor([1.0, 0.9, 0.5, 1.0, 0.1, 0.5])
    together = sample(logits, temperature, top_p, uniform)
    alone = [sample(logits[i : i + 1], temperature[i : i + 1], top_p[i : i + 1], uniform[i : i + 1]) for i in range(6)]
    assert together.tolist() == torch.cat(alone).tolist()


def test_the_last_number_below_one_still_gives_a_kept_token() -> None:
    torch.manual_seed(0)
    logits = torch.randn(4, 131072)
    almost_one = torch.full((4,), 1.0 - 2**-24)
    tokens = sample(logits, torch.ones(4), torch.full((4,), 0.9), almost_one)
    ranks = (logits > logits.gather(1, tokens[:, None])).sum(1)
    assert (ranks < 131072 * 0.9).all()
