"""Difference of two versions: which items came, left and moved, and which nodes changed most."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from hsnn.indexer.store.reader import IndexReader


class NodeChange(NamedTuple):
    """Items of a node in both versions, and how many entered and left it."""

    node: int
    before: int
    after: int
    came: int
    went: int


class VersionDiff(NamedTuple):
    """The difference between two item maps.

    Attributes
    ----------
    only_before, only_after
        Items of one of them, in order.
    moved
        Items of both whose nodes differ: item -> (node before, node after).
    common
        Number of items in both.
    nodes
        Nodes that items entered or left, those with most of them first.
    """

    only_before: list[str]
    only_after: list[str]
    moved: dict[str, tuple[int, int]]
    common: int
    nodes: list[NodeChange]

    @property
    def share_moved(self) -> float:
        """Moved items over items in both; 0 if there are none."""
        return len(self.moved) / max(self.common, 1)


def diff_item_maps(before: Mapping[str, int], after: Mapping[str, int]) -> VersionDiff:
    """Compare two item maps, item -> node.

    Examples
    --------
    >>> diff = diff_item_maps({"a": 0, "b": 0, "c": 1}, {"b": 1, "c": 1, "d": 1})
    >>> diff.only_before, diff.only_after, diff.moved, diff.share_moved
    (['a'], ['d'], {'b': (0, 1)}, 0.5)
    >>> diff.nodes
    [NodeChange(node=0, before=2, after=0, came=0, went=2), NodeChange(node=1, before=1, after=3, came=2, went=0)]
    """
    common = before.keys() & after.keys()
    moved = {item: (before[item], after[item]) for item in sorted(common) if before[item] != after[item]}
    gone, new = sorted(before.keys() - after.keys()), sorted(after.keys() - before.keys())
    went = Counter([before[item] for item in (*gone, *moved)])
    came = Counter([after[item] for item in (*new, *moved)])
    sizes = Counter(before.values()), Counter(after.values())
    changes = [
        NodeChange(node, before=sizes[0][node], after=sizes[1][node], came=came[node], went=went[node])
        for node in came | went
    ]
    changes.sort(key=lambda change: (-change.came - change.went, change.node))
    return VersionDiff(only_before=gone, only_after=new, moved=moved, common=len(common), nodes=changes)


def diff_versions(reader: IndexReader, before: int, after: int) -> VersionDiff:
    """Compare two versions as they are now, their deltas included.

    Raises
    ------
    VersionNotFoundError
        One of them does not exist.
    """
    for number in (before, after):
        reader.manifest(number)
    return diff_item_maps(reader.item_nodes(before), reader.item_nodes(after))
