"""Watch of a flip: return to the version before if the new one serves worse, by the trainer's live queries.

Live queries (`trainer.server`) are answered by a version, and the same queries by popularity. What counts is how far
the served recall lies above that of popularity: a stretch of the stream that is harder for both blames no version. It
may be harder for the model alone, or servers may be behind on a busy machine. So a version without damage of its own
(`hsnn.indexer.build.version_gate.damage`) is blamed only after both have answered the same queries (`finds_less`).
"""

from __future__ import annotations

import logging
import math
from typing import Any, NamedTuple

import msgspec

from hsnn.indexer.build.leader import Leader
from hsnn.indexer.build.version_gate import damage, finds_less
from hsnn.indexer.errors import RollbackError
from hsnn.monitoring.audit import AuditTrail
from hsnn.monitoring.notify import Notifier

_log = logging.getLogger(__name__)

# Live queries of each version before anything is concluded.
_LEAST = 100

# Standard errors, and points of recall, that a version must be worse by.
_ERRORS, _POINTS = 4.0, 0.05


class VersionRecall(NamedTuple):
    """Live queries that a version answered: their number, its hits, and those of popularity on the same."""

    queries: int
    hits: int
    popularity_hits: int

    @property
    def lift(self) -> float:
        """Recall above that of popularity."""
        return (self.hits - self.popularity_hits) / self.queries


def is_worse(new: VersionRecall, old: VersionRecall) -> bool:
    """Tell whether a version serves worse than the one before it, beyond noise.

    Examples
    --------
    >>> is_worse(VersionRecall(400, 40, 60), VersionRecall(400, 120, 60))
    True
    >>> is_worse(VersionRecall(400, 70, 30), VersionRecall(400, 120, 75))
    False
    >>> is_worse(VersionRecall(50, 0, 10), VersionRecall(400, 120, 60))
    False
    """
    if min(new.queries, old.queries) < _LEAST:
        return False
    # Each difference of hits on one query is -1, 0 or 1: its variance is at most the sum of both misses and hits.
    variance = sum((recall.hits + recall.popularity_hits) / recall.queries**2 for recall in (new, old))
    return old.lift - new.lift > max(_ERRORS * math.sqrt(variance), _POINTS)


class FlipWatch:
    """The job that rolls back a flip that hurts, and holds publishing."""

    def __init__(self, leader: Leader, audit: AuditTrail, notify: Notifier) -> None:
        self._leader, self._store, self._audit, self._notify = leader, leader.store, audit, notify
        self._acquitted = 0  # the version whose live queries are no fault of its own

    def check(self) -> int | None:
        """Compare the version in use with the one before it; return the version that was returned to, if any."""
        recalls, current = self._recalls(), self._store.current()
        if current is None or current not in recalls or current == self._acquitted:
            return None
        older = [number for number in self._store.versions() if number < current and number in recalls]
        if not older or not is_worse(recalls[current], recalls[max(older)]):
            return None
        new, old = recalls[current], recalls[max(older)]
        reason = (
            f"version {current} finds {new.hits / new.queries:.1%} of {new.queries} live queries' items, version "
            f"{max(older)} found {old.hits / old.queries:.1%} of {old.queries}; popularity {new.popularity_hits}"
            f" and {old.popularity_hits} of them"
        )
        served = self._store.load_version(current)
        if damaged := damage(self._store, served):
            reason = f"{reason}; {damaged}"
        elif finds_less(served, self._store.load_version(max(older))) is False:
            self._acquitted = current
            _log.warning("%s; both find as much on the same queries, so it stays", reason)
            self._audit.record("rollback", kind="flip", outcome="not needed", version=current, reason=reason)
            return None
        try:
            returned = self._leader.roll_back(reason)
        except RollbackError as error:
            _log.error("%s, and it stays: %s", reason, error)
            return None
        self._audit.record("rollback", kind="flip", outcome="done", version=returned, reason=reason, refused=current)
        self._notify(f"rolled back to version {returned}, publishing is held: {reason}", {"version": returned})
        return returned

    def _recalls(self) -> dict[int, VersionRecall]:
        blob: Any = self._store.redis.hget(self._store.key("progress"), "by_version")
        counts = {} if blob is None else msgspec.json.decode(blob, type=dict[int, tuple[int, int, int]])
        return {number: VersionRecall(*each) for number, each in counts.items()}
