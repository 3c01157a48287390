"""The pages of the cache: exact accounting, sharing without leaks or interference."""

import random
from collections import Counter

import pytest
import torch

from llm.runtime.architecture import DecoderConfig
from llm.runtime.cache import IDLE_PAGE, CacheFull, PagedCache, Prefix

SHAPE = DecoderConfig(
    dim=8, n_layers=1, n_heads=2, n_kv_heads=1, head_dim=4, hidden_dim=8, vocab_size=8, rope_theta=1e4, head="none"
)
RING = DecoderConfig(
    dim=8, n_layers=1, n_heads=2, n_kv_heads=1, head_dim=4, hidden_dim=8, vocab_size=8, rope_theta=1e4, head="none",
    window=9,
)  # fmt: skip


def cache_of(pages: int, rows: int = 4, config: DecoderConfig = SHAPE, max_tokens: int = 40) -> PagedCache:
    return PagedCache(config, rows=rows, pages=pages, max_tokens=max_tokens, page_tokens=4)


def write(cache: PagedCache, row: int, first: int, last: int, value: float) -> None:
    positions = torch.arange(first, last)
    places = cache.slot_mapping(torch.full_like(positions, row), positions)
    cache.keys[0].flatten(0, 1)[places] = value


def read(cache: PagedCache, row: int, tokens: int) -> list[float]:
    positions = torch.arange(tokens)
    places = cache.slot_mapping(torch.full_like(positions, row), positions)
    return cache.keys[0].flatten(0, 1)[places][:, 0, 0].tolist()


def test_pages_follow_the_real_length() -> None:
    cache = cache_of(pages=10)
    cache.open(0)
    assert cache.free_pages == 10
    for tokens, free in ((1, 9), (4, 9), (5, 8), (9, 7), (9, 7)):
        cache.grow(0, tokens)
        assert cache.free_pages == free
    cache.shrink(0, 4)
    assert cache.free_pages == 9
    cache.close(0)
    cache.close(0)
    assert cache.free_pages == 10
    assert not cache.tables.any()


def test_a_full_cache_refuses_and_changes_nothing() -> None:
    cache = cache_of(pages=3)
    cache.open(0)
    cache.open(1)
    cache.grow(0, 8)
    with pytest.raises(CacheFull, match="2 pages wanted, 1 are free"):
        cache.grow(1, 5)
    assert cache.free_pages == 1
    cache.grow(1, 4)
    with pytest.raises(CacheFull, match="41 tokens wanted, a stream may hold 40"):
        cache.grow(1, 41)


def test_sharers_do_not_disturb_each_other() -> None:
    cache = cache_of(pages=20)
    cache.open(0)
    cache.grow(0, 10)
    write(cache, 0, 0, 10, 1.0)
    prefix = cache.remember(0, 10)  # two full pages shared, two tokens copied
    write(cache, 0, 10, 12, 5.0)
    assert cache.open(1, prefix) == cache.open(2, prefix) == 10
    cache.grow(1, 12)
    write(cache, 1, 10, 12, 2.0)
    cache.grow(2, 14)
    write(cache, 2, 10, 14, 3.0)

    assert read(cache, 0, 12) == [1.0] * 10 + [5.0] * 2
    assert read(cache, 1, 12) == [1.0] * 10 + [2.0] * 2
    assert read(cache, 2, 14) == [1.0] * 10 + [3.0] * 4
    assert cache.free_pages == 20 - 2 - 1 - 1 - 1 - 2  # shared; endings of row 0, the prefix, row 1, row 2

    cache.shrink(2, 6)  # into a shared page: the row goes on in its own copy
    write(cache, 2, 6, 8, 4.0)
    assert read(cache, 2, 8) == [1.0] * 6 + [4.0] * 2
    assert read(cache, 1, 10) == [1.0] * 10

    for row in range(3):
        cache.close(row)
    assert cache.free_pages == 17
    cache.forget(prefix)
    assert cache.free_pages == 20


def test_what_an_admission_expects_is_what_it_takes() -> None:
    for config in (SHAPE, RING):
        cache = cache_of(pages=30, config=config)
        cache.open(0)
        cache.grow(0, 7)
        prefix = cache.remember(0, 7)
        for row, tokens in ((1, 7), (2, 8), (3, 23)):
            free, expected = cache.free_pages, cache.pages_for(tokens, prefix)
            cache.open(row, prefix)
            cache.grow(row, tokens)
            assert free - cache.free_pages == expected


def test_a_ring_keeps_its_window_and_its_size() -> None:
    cache = cache_of(pages=10, config=RING, max_tokens=2)
    cache.open(0)
    for position in range(100):
        cache.grow(0, position + 1)
        write(cache, 0, position, position + 1, float(position))
    assert cache.free_pages == 10 - cache.columns == 7
    positions = torch.arange(91, 100)
    places = cache.slot_mapping(torch.zeros_like(positions), positions)
    assert cache.keys[0].flatten(0, 1)[places][:, 0, 0].tolist() == positions.tolist()


def test_a_ring_copies_a_prefix_because_it_writes_over_it() -> None:
    cache = cache_of(pages=20, config=RING, max_tokens=1)
    cache.open(0)
    cache.grow(0, 8)
    write(cache, 0, 0, 8, 1.0)
    prefix = cache.remember(0, 8)
    cache.open(1, prefix)
    for position in range(8, 40):
        cache.grow(1, position + 1)
        write(cache, 1, position, position + 1, 2.0)
    cache.open(2, prefix)
    assert read(cache, 2, 8) == [1.0] * 8


def test_ten_thousand_random_streams_leave_every_page_free() -> None:
    chance = random.Random(5)
    cache = cache_of(pages=20, rows=8)
    lengths: dict[int, int] = {}
    prefixes: list[Prefix] = []
    done = Counter[str]()
    tokens = 0
    while done["open"] < 10_000:
        action = chance.choice(("open", "open", "grow", "grow", "grow", "shrink", "close", "remember", "forget"))
        row = chance.randrange(8)
        free = cache.free_pages
        try:
            if action == "open" and row not in lengths:
                lengths[row] = cache.open(row, chance.choice([None, *prefixes]))
                done["open"] += 1
            elif action == "grow" and row in lengths:
                tokens = min(40, lengths[row] + chance.randrange(1, 12))
                cache.grow(row, tokens)
                lengths[row] = tokens
            elif action == "shrink" and row in lengths:
                tokens = chance.randrange(lengths[row] + 1)
                cache.shrink(row, tokens)
                lengths[row] = tokens
            elif action == "close":
                cache.close(row)
                lengths.pop(row, None)
            elif action == "remember" and lengths.get(row) and len(prefixes) < 5:
                prefixes.append(cache.remember(row, chance.randrange(1, lengths[row] + 1)))
            elif action == "forget" and prefixes:
                cache.forget(prefixes.pop(chance.randrange(len(prefixes))))
        except CacheFull:
            done["full"] += 1
            if action == "shrink":
                lengths[row] = min(lengths[row], tokens)
            else:
                assert cache.free_pages == free
        used = {page for row in lengths for page in cache.tables[row].tolist()} - {IDLE_PAGE}
        used |= {page for prefix in prefixes for page in prefix.pages}
        if done["open"] % 50 == 0:
            assert cache.free_pages == 20 - len(used)
    assert done["full"] > 100
    for row in range(8):
        cache.close(row)
    for prefix in prefixes:
        cache.forget(prefix)
    assert cache.free_pages == 20
    assert not cache.tables.any()
