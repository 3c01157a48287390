"""The beginnings of conversations whose keys and values are still in the cache: a tree with one page to a node.

A new stream shares the pages of the longest beginning known, whoever wrote it: an earlier turn of its call, or another
call with the same instructions. Pages that only the tree holds are given up for new ones, the longest unused first.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

from llm.runtime.cache import PagedCache, Prefix


@dataclass(eq=False, slots=True)
class _Node:
    """A page of tokens that stands behind its parent's. Only a node without children may be partly filled."""

    ids: tuple[int, ...]
    page: int
    parent: "_Node | None"
    children: "dict[tuple[int, ...], _Node]" = field(default_factory=dict[tuple[int, ...], "_Node"])


class PrefixTree:
    """What the cache remembers. The cache must have no window: a ring writes over its own beginning."""

    def __init__(self, cache: PagedCache) -> None:
        assert cache.window is None
        self._cache = cache
        self._root = _Node((), -1, None)
        self._by_use: OrderedDict[_Node, None] = OrderedDict()  # least recently used first, children before parents

    @property
    def pages(self) -> int:
        """Pages that the tree holds."""
        return len(self._by_use)

    @property
    def idle_pages(self) -> int:
        """Pages that the tree alone holds: they are as good as free."""
        return sum(self._cache.holders(node.page) == 1 for node in self._by_use)

    def find(self, ids: Sequence[int]) -> Prefix | None:
        """The longest known beginning of these ids, to the token; it is valid until the next change of the tree."""
        size = self._cache.page_tokens
        node, pages, tokens = self._root, list[int](), 0
        while (child := node.children.get(tuple(ids[tokens : tokens + size]))) is not None:
            pages.append(child.page)
            tokens += len(child.ids)
            node = child
        rest = ids[tokens : tokens + size]
        common, nearest = max(
            ((_count_common(child.ids, rest), child) for child in node.children.values()),
            key=lambda found: found[0],
            default=(0, node),
        )
        if common:
            pages.append(nearest.page)
            node = nearest
        self._touch(node)
        return Prefix(tokens + common, tuple(pages)) if pages else None

    def keep(self, row: int, ids: Sequence[int]) -> None:
        """Remember what an open row of the cache begins with, which must be these ids.

        The row must not write into the last page any more, unless the ids fill it.
        """
        size = self._cache.page_tokens
        node = self._root
        # whole pages, so that nothing is copied: what the last one holds behind the ids is never read
        for number, page in enumerate(self._cache.remember(row, -(-len(ids) // size) * size).pages):
            page_ids = tuple(ids[number * size : (number + 1) * size])
            child = node.children.get(page_ids)
            if child is None:
                child = node.children[page_ids] = _Node(page_ids, page, node)
            else:
                self._cache.forget(Prefix(size, (page,)))
            node = child
        self._touch(node)

    def make_room(self, pages: int) -> None:
        """Give up idle pages until so many are free, or none is left to give up."""
        while self._cache.free_pages < pages:
            for node in self._by_use:
                if not node.children and self._cache.holders(node.page) == 1:
                    self._drop(node)
                    break
            else:
                return

    def clear(self) -> None:
        """Forget everything: what is remembered may be wrong."""
        for node in self._by_use:
            self._cache.forget(Prefix(len(node.ids), (node.page,)))
        self._by_use.clear()
        self._root.children.clear()

    def _touch(self, node: _Node) -> None:
        """This path was used just now; its beginning is of use to more conversations than its end."""
        while node.parent is not None:
            self._by_use[node] = None
            self._by_use.move_to_end(node)
            node = node.parent

    def _drop(self, node: _Node) -> None:
        assert node.parent is not None
        del node.parent.children[node.ids]
        del self._by_use[node]
        self._cache.forget(Prefix(len(node.ids), (node.page,)))


def _count_common(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens both begin with."""
    for index, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return index
    return min(len(one), len(other))
