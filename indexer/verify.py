"""Verify that what a mirror computes from base and deltas equals the item map, item by item."""

from __future__ import annotations

from typing import Any, NamedTuple

from indexer.delta import Delta
from indexer.reader import IndexReader
from indexer.streams import follow


class VerifyReport(NamedTuple):
    """What `verify` found in one version.

    Attributes
    ----------
    version, items
        The version, and how many items its map holds.
    missing
        Items that base and deltas have and the map lacks.
    extra
        Items that only the map has.
    misplaced
        Items whose nodes differ.
    """

    version: int
    items: int
    missing: list[str]
    extra: list[str]
    misplaced: list[str]

    @property
    def clean(self) -> bool:
        """Whether nothing differs."""
        return not (self.missing or self.extra or self.misplaced)


def verify(reader: IndexReader, number: int) -> VerifyReport:
    """Compare a version's base and deltas with its item map, both as they were at one moment.

    Raises
    ------
    VersionGoneError
        There is no such version.
    """
    base = reader.load_version(number)
    newest, item_map = _moment(reader, number)
    ids = base.snapshot.item_ids
    expected = {ids[row]: node for row, node in enumerate(base.index.nodes.tolist()) if node >= 0}
    for entry in follow(reader.redis, reader.key("deltas", number), upto=newest):
        apply_to_map(expected, Delta.decode(entry.fields[b"d"]))
    return VerifyReport(
        number, len(item_map), sorted(expected.keys() - item_map.keys()), sorted(item_map.keys() - expected.keys()),
        sorted(item for item in expected.keys() & item_map.keys() if expected[item] != item_map[item]),
    )  # fmt: skip


def apply_to_map(items: dict[str, int], delta: Delta) -> None:
    """Do to a plain item map what a delta says."""
    if delta.op == "delete":
        items.pop(delta.item, None)
    elif delta.op != "superseded":
        items[delta.item] = delta.node


def _moment(reader: IndexReader, number: int) -> tuple[str, dict[str, int]]:
    """Newest delta and item map, read in one transaction."""
    pipeline = reader.redis.pipeline(transaction=True)
    pipeline.xrevrange(reader.key("deltas", number), count=1)
    pipeline.hgetall(reader.key("items", number))
    answers: Any = pipeline.execute()
    newest = answers[0][0][0].decode() if answers[0] else "0-0"
    return newest, {item.decode(): int(node) for item, node in answers[1].items()}
