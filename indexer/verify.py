"""Verify that what a mirror computes from base and deltas equals the item map, and that it is what should be there."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from indexer.catalogue import Catalogue
from indexer.deadline import safe_point
from indexer.delta import Delta
from indexer.following import catch_up
from indexer.reader import IndexReader
from indexer.streams import START, follow

KINDS = {
    "missing": "in base and deltas, not in the item map",
    "extra": "in the item map only",
    "misplaced": "in another node in the item map",
    "stale": "still indexed, though deleted or expired",
    "unassigned": "alive, but not indexed",
}
"""The kinds of damage."""


class VerifyReport(NamedTuple):
    """What `verify` found in one version; the lists hold item ids, in order, an item may be in several.

    Attributes
    ----------
    version, items
        The version, and how many items its map holds.
    missing
        Items that base and deltas have and the map lacks.
    extra
        Items that only the map has.
    misplaced
        Items whose nodes differ, or are none.
    stale
        Items in the map, or in base and deltas, that were deleted or have expired by the watermark.
    unassigned
        Items that are alive and in no node by base and deltas.
    judged
        Whether the last two were looked for: only the version that readers use is kept up with the catalogue.
    """

    version: int
    items: int
    missing: list[str]
    extra: list[str]
    misplaced: list[str]
    stale: list[str]
    unassigned: list[str]
    judged: bool

    @property
    def clean(self) -> bool:
        """Whether nothing is wrong."""
        return not any(self.counts.values())

    @property
    def counts(self) -> dict[str, int]:
        """Items per kind of damage."""
        return {kind: len(getattr(self, kind)) for kind in KINDS}


class Picture:
    """A version as its readers see it, and as it should be; `look` brings both up to date.

    Parameters
    ----------
    reader
        Where the version is.
    number
        The version.

    Attributes
    ----------
    expected
        Item -> node by base and deltas.
    item_map
        Item -> node by the item map; -1 for what is no number.
    """

    def __init__(self, reader: IndexReader, number: int) -> None:
        version = reader.load_version(number)
        ids = version.snapshot.item_ids
        self._reader, self._number, self._seen = reader, number, START
        self._catalogue = Catalogue(version.snapshot)
        self.expected = {ids[row]: node for row, node in enumerate(version.index.nodes.tolist()) if node >= 0}
        self.item_map: dict[str, int] = {}

    def look(self) -> VerifyReport:
        """Compare, at this moment; the catalogue is at least as old as the map."""
        catch_up(self._catalogue, self._reader)
        newest, self.item_map = _moment(self._reader, self._number)
        for entry in follow(self._reader.redis, self._reader.key("deltas", self._number), self._seen, newest):
            apply_to_map(self.expected, Delta.decode(entry.fields[b"d"]))
        self._seen = newest
        theirs, ours = self.expected, self.item_map
        misplaced = sorted(item for item in theirs.keys() & ours.keys() if theirs[item] != ours[item])
        return VerifyReport(
            self._number, len(ours), sorted(theirs.keys() - ours.keys()), sorted(ours.keys() - theirs.keys()),
            misplaced, *self._judged(),
        )  # fmt: skip

    def _judged(self) -> tuple[list[str], list[str], bool]:
        if self._reader.current() != self._number:
            return [], [], False
        catalogue = self._catalogue
        alive, known = catalogue.alive(), catalogue.known[: len(catalogue)]  # (rows,)
        living = {catalogue.ids[row] for row in np.flatnonzero(alive)}
        dead = {catalogue.ids[row] for row in np.flatnonzero(known & ~alive)}
        return (
            sorted((dead - living) & (self.expected.keys() | self.item_map.keys())),
            sorted(living - self.expected.keys()),
            True,
        )


def verify(
    reader: IndexReader, number: int, patience: float = 0.0, wait: Callable[[float], object] = time.sleep
) -> VerifyReport:
    """Compare a version's base and deltas with its item map, as they were at one moment, and with the catalogue.

    Parameters
    ----------
    reader
        Where the version is.
    number
        The version.
    patience
        Seconds. An item that is due, or unassigned, may be at the leader's hands just now: if there is any, a second
        look is taken after so long, and only what both found is damage.
    wait
        How to wait.

    Raises
    ------
    VersionGoneError
        There is no such version.
    """
    picture = Picture(reader, number)
    report = picture.look()
    if patience and (report.stale or report.unassigned):
        safe_point("between two looks at a version")
        wait(patience)
        report = lasting(report, picture.look())
    return report


def lasting(earlier: VerifyReport, later: VerifyReport) -> VerifyReport:
    """Report of the later look, less what has become stale or unassigned only since the earlier one."""
    stale, unassigned = ({*earlier.stale} & {*later.stale}, {*earlier.unassigned} & {*later.unassigned})
    return later._replace(stale=sorted(stale), unassigned=sorted(unassigned))


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
    newest = answers[0][0][0].decode() if answers[0] else START
    return newest, {item.decode(errors="surrogateescape"): _node(node) for item, node in answers[1].items()}


def _node(text: bytes) -> int:
    """Node of the map's text, -1 for what is not written as the leader writes it."""
    return int(text) if text.isdigit() else -1
