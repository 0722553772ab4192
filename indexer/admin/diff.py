"""Two versions side by side: which items came, left and moved, and which nodes changed most."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from hsnn.indexer.store.reader import IndexReader


class NodeChange(NamedTuple):
    """Items of a node in both versions, and how many came into it and went out of it."""

    node: int
    before: int
    after: int
    came: int
    went: int


class Comparison(NamedTuple):
    """What differs from one item map to another.

    Attributes
    ----------
    only_before, only_after
        Items of one of them, in order.
    moved
        Items of both whose nodes differ: item -> (node before, node after).
    common
        How many items are in both.
    nodes
        Nodes that anything came into or went out of, those with most of it first.
    """

    only_before: list[str]
    only_after: list[str]
    moved: dict[str, tuple[int, int]]
    common: int
    nodes: list[NodeChange]

    @property
    def share_moved(self) -> float:
        """Moved items over items in both; 0 without any."""
        return len(self.moved) / max(self.common, 1)


def compare(before: Mapping[str, int], after: Mapping[str, int]) -> Comparison:
    """Compare two item maps, item -> node.

    Examples
    --------
    >>> found = compare({"a": 0, "b": 0, "c": 1}, {"b": 1, "c": 1, "d": 1})
    >>> found.only_before, found.only_after, found.moved, found.share_moved
    (['a'], ['d'], {'b': (0, 1)}, 0.5)
    >>> found.nodes
    [NodeChange(node=0, before=2, after=0, came=0, went=2), NodeChange(node=1, before=1, after=3, came=2, went=0)]
    """
    common = before.keys() & after.keys()
    moved = {item: (before[item], after[item]) for item in sorted(common) if before[item] != after[item]}
    gone, new = sorted(before.keys() - after.keys()), sorted(after.keys() - before.keys())
    went = Counter([before[item] for item in (*gone, *moved)])
    came = Counter([after[item] for item in (*new, *moved)])
    sizes = Counter(before.values()), Counter(after.values())
    changes = [NodeChange(node, sizes[0][node], sizes[1][node], came[node], went[node]) for node in came | went]
    changes.sort(key=lambda change: (-change.came - change.went, change.node))
    return Comparison(gone, new, moved, len(common), changes)


def compare_versions(reader: IndexReader, before: int, after: int) -> Comparison:
    """Compare two versions as they are now, their deltas included.

    Raises
    ------
    VersionGoneError
        One of them does not exist.
    """
    for number in (before, after):
        reader.manifest(number)
    return compare(reader.item_nodes(before), reader.item_nodes(after))
