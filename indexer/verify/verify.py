"""Verification: whether all forms of a version agree with one another and with the item catalogue."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from hsnn.indexer.job_context import check_deadline
from hsnn.indexer.store.reader import IndexReader
from hsnn.indexer.verify.consistency import ConsistencyCheck

KINDS = {
    "missing": "in base and deltas, not in the item map",
    "extra": "in the item map only",
    "misplaced": "elsewhere in the item map",
    "unposted": "without a record in its leaf",
    "stray": "with a record where none should be",
    "misdated": "in the expiry set with another end, or not, or for nothing",
    "damaged": "leaves whose bytes are not those that were written; no record in them counts",
    "stale": "still indexed, though deleted or expired",
    "unassigned": "alive, but not indexed",
}
"""The kinds of damage, explained for people."""


class VerifyReport(NamedTuple):
    """The damage of one version: sorted lists of item ids, of which one may be in several, and of leaves.

    Attributes
    ----------
    version, items
        The version, and the number of items in its map.
    missing
        Items that base and deltas have and the map lacks.
    extra
        Items that only the map has.
    misplaced
        Items whose leaf in the map differs or cannot be read, or whose record is elsewhere in the leaf.
    unposted
        Items of base and deltas whose leaf has no record of them.
    stray
        Items that have a record in another leaf than theirs, or two; ``row N`` where the item is unknown.
    misdated
        Items whose expiry in the expiry set is not that of base and deltas.
    damaged
        Leaves, ``leaf N, shard S``, with missing bytes or a record with a wrong checksum: all their items are unposted.
    stale
        Items in the map, or in base and deltas, that were deleted or have expired by the watermark.
    unassigned
        Items that are alive and in no node by base and deltas.
    catalogue_checked
        Whether the last two were checked: only the version that readers use is kept in line with the catalogue.
    """

    version: int
    items: int
    missing: list[str]
    extra: list[str]
    misplaced: list[str]
    unposted: list[str]
    stray: list[str]
    misdated: list[str]
    damaged: list[str]
    stale: list[str]
    unassigned: list[str]
    catalogue_checked: bool

    @property
    def clean(self) -> bool:
        """Whether there is no damage."""
        return not any(self.counts.values())

    @property
    def counts(self) -> dict[str, int]:
        """Items per kind of damage."""
        return {kind: len(getattr(self, kind)) for kind in KINDS}


def verify(
    reader: IndexReader, number: int, recheck_after: float = 0.0, wait: Callable[[float], object] = time.sleep
) -> VerifyReport:
    """Compare base and deltas of a version with its leaves, item map and expiry set, and with the catalogue.

    Parameters
    ----------
    reader
        Where the version is.
    number
        The version.
    recheck_after
        Seconds. The leader may be about to remove a stale item or to index an unassigned one: if there is any, a second
        pass follows after so long, and only what both passes found is damage.
    wait
        Waits for so many seconds.

    Raises
    ------
    VersionNotFoundError
        There is no such version, or it was removed meanwhile.
    """
    check = ConsistencyCheck(reader, number)
    report = run_check(check)
    if recheck_after and (report.stale or report.unassigned):
        check_deadline("between two passes over a version")
        wait(recheck_after)
        report = confirm_report(report, run_check(check))
    if not report.clean:
        reader.manifest(number)  # of a version that is being removed parts are missing, which is no damage
    return report


def run_check(check: ConsistencyCheck) -> VerifyReport:
    """Read a version now and report its damage."""
    check.refresh()
    wrong, (stale, unassigned, judged) = check.discrepancies(), check.catalogue_discrepancies()
    kinds = {kind: sorted(found) for kind, found in wrong._asdict().items()}
    return VerifyReport(
        check.number, len(check.item_map), **kinds, stale=stale, unassigned=unassigned, catalogue_checked=judged
    )


def confirm_report(earlier: VerifyReport, later: VerifyReport) -> VerifyReport:
    """Return the later report, less what has become stale or unassigned only since the earlier one."""
    stale, unassigned = ({*earlier.stale} & {*later.stale}, {*earlier.unassigned} & {*later.unassigned})
    return later._replace(stale=sorted(stale), unassigned=sorted(unassigned))
