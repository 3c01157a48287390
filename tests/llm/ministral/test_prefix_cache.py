"""The tree of remembered beginnings: longest match, sharing, and giving up the longest unused."""

import random

import pytest
import torch

from llm.ministral.prefix_cache import PrefixTree
from llm.runtime.architecture import DecoderConfig
from llm.runtime.cache import CacheFull, PagedCache

PAGE = 4
CONFIG = DecoderConfig(
    dim=8, n_layers=1, n_heads=1, n_kv_heads=1, head_dim=2, hidden_dim=8, vocab_size=9, rope_theta=1e4
)


@pytest.fixture
def cache() -> PagedCache:
    return PagedCache(CONFIG, rows=3, pages=12, max_tokens=40, page_tokens=PAGE)


@pytest.fixture
def tree(cache: PagedCache) -> PrefixTree:
    return PrefixTree(cache)


def write(cache: PagedCache, row: int, ids: list[int], start: int = 0) -> None:
    """Keys that tell which token stands where."""
    cache.grow(row, len(ids))
    for position, token in enumerate(ids[start:], start):
        place = int(cache.slot_mapping(torch.tensor([row]), torch.tensor([position])))
        cache.keys.flatten(1, 2)[0, place] = token


def read(cache: PagedCache, row: int, tokens: int) -> list[int]:
    places = cache.slot_mapping(torch.full((tokens,), row), torch.arange(tokens))
    return cache.keys.flatten(1, 2)[0, places, 0, 0].int().tolist()


def speak(cache: PagedCache, tree: PrefixTree, ids: list[int], row: int = 0) -> int:
    """A whole stream: its tokens are remembered. Returns how many of them were known."""
    tree.make_room(1)
    known = cache.open(row, tree.find(ids))
    tree.make_room(cache.pages_for(len(ids)))
    write(cache, row, ids, known)
    tree.keep(row, ids)
    cache.close(row)
    return known


@pytest.mark.parametrize("length", [1, 3, 4, 5, 8, 11])
def test_the_longest_known_beginning_is_found_to_the_token(cache: PagedCache, tree: PrefixTree, length: int) -> None:
    speak(cache, tree, [1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3])
    asked = [*[1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3][:length], 0, 0, 0, 0, 0]
    found = tree.find(asked)
    assert found is not None
    assert found.tokens == length
    assert cache.open(1, found) == length
    assert read(cache, 1, length) == asked[:length]


def test_nothing_known_is_nothing_found(cache: PagedCache, tree: PrefixTree) -> None:
    assert tree.find([1, 2]) is None
    speak(cache, tree, [1, 2])
    assert tree.find([2, 1]) is None
    assert tree.find([]) is None


def test_streams_of_one_beginning_share_its_pages(cache: PagedCache, tree: PrefixTree) -> None:
    speak(cache, tree, [1, 2, 3, 4, 5, 6, 7, 8])
    before = cache.free_pages
    assert cache.open(0, tree.find([1, 2, 3, 4, 5, 6, 7, 8, 1])) == 8
    assert cache.open(1, tree.find([1, 2, 3, 4, 5, 6, 7, 8, 2])) == 8
    assert cache.free_pages == before
    assert tree.idle_pages == 0


def test_what_two_streams_wrote_is_kept_once(cache: PagedCache, tree: PrefixTree) -> None:
    for row in (0, 1):
        cache.open(row)
        write(cache, row, [1, 2, 3, 4, 5])
    for row in (0, 1):
        tree.keep(row, [1, 2, 3, 4, 5])
        cache.close(row)
    assert tree.pages == 2
    assert cache.free_pages == 10


def test_the_longest_unused_ending_is_given_up_first(cache: PagedCache, tree: PrefixTree) -> None:
    speak(cache, tree, [1, 1, 1, 1, 2, 2, 2, 2])
    speak(cache, tree, [1, 1, 1, 1, 3, 3, 3, 3])
    tree.find([1, 1, 1, 1, 2, 2, 2, 2])
    tree.make_room(cache.free_pages + 1)
    dropped, kept = tree.find([1, 1, 1, 1, 3, 3, 3, 3]), tree.find([1, 1, 1, 1, 2, 2, 2, 2])
    assert dropped is not None
    assert kept is not None
    assert (dropped.tokens, kept.tokens) == (4, 8)


def test_pages_in_use_are_never_given_up(cache: PagedCache, tree: PrefixTree) -> None:
    speak(cache, tree, [1, 1, 1, 1, 2, 2, 2, 2])
    cache.open(0, tree.find([1, 1, 1, 1]))
    tree.make_room(12)
    assert tree.pages == 1
    assert read(cache, 0, 4) == [1, 1, 1, 1]


def test_forgotten_is_free(cache: PagedCache, tree: PrefixTree) -> None:
    speak(cache, tree, [1, 2, 3, 4, 5])
    tree.clear()
    assert tree.find([1, 2, 3]) is None
    assert cache.free_pages == 12


def test_many_conversations_lose_no_page_and_read_what_they_wrote(cache: PagedCache, tree: PrefixTree) -> None:
    dice = random.Random(1)
    talks: list[list[int]] = [[]]
    known = 0
    for _ in range(400):
        base = dice.choice(talks)
        ids = [*base[: dice.randint(0, len(base))], *(dice.randint(1, 3) for _ in range(dice.randint(1, 6)))][:30]
        row = dice.randrange(3)
        tree.make_room(1)
        found = cache.open(row, tree.find(ids))
        known += found
        tree.make_room(cache.pages_for(len(ids)))
        write(cache, row, ids, found)
        assert read(cache, row, len(ids)) == ids
        tree.keep(row, ids)
        cache.close(row)
        assert cache.free_pages + tree.pages == 12
        assert tree.idle_pages == tree.pages
        talks = [*talks[-9:], ids]
    assert known > 1000
    with pytest.raises(CacheFull):
        cache.open(0)
        cache.grow(0, 41)
