"""ItemCatalogue: the items as the scheduler knows them: which exist, their features, and when they expire."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hsnn.indexer.assign.alive_rows import AliveRows
from hsnn.streaming.schema.events import Feature
from hsnn.trainer.features.expiry import NEVER, expiry_times
from hsnn.trainer.features.hashing import pad_tokens
from hsnn.trainer.features.item_counters import HALF_LIVES
from hsnn.trainer.features.mass_expiry import QuietEnds
from hsnn.trainer.messages import Feed, FeedItem, Snapshot, StateDelta
from hsnn.trainer.rowstore.arrays import grown

Rows = NDArray[np.int64]
Mask = NDArray[np.bool_]

# Index of the half-life of a week in HALF_LIVES: long enough that popularity outlasts a quiet day.
_POPULARITY = 5


class ItemCatalogue:
    """Items of one epoch by the trainer's rows: a snapshot, brought up to date by feed and states.

    Everything read is absolute, so reading it twice changes nothing; what is of another epoch means other rows and is
    ignored. An item is alive if it exists and, by the trainer's time of departures, is neither past its own expiry nor
    idle for too long: an idle item that is engaged with again is alive again by itself. Where the stream is quiet, ends
    and beginnings that were announced are obeyed by `obey_ends`.

    Attributes
    ----------
    epoch
        Incarnation of the trainer.
    feed_id, state_id
        The last entries of the two streams that are included.
    watermark
        Event time, ms.
    departed_to
        Time by which items have left, epoch ms: the watermark, unless a mass expiry is held.
    quiet_ends
        Up to where announced ends are obeyed.
    idle_ms
        An item without engagement for so long is not alive; None: no limit.
    ids, features
        By row.
    tokens : (rows, T) int32
    first, last, expires_at, available_from, sent_at : (rows,) int64
        Times in ms; `expires_at` 0 = never, `available_from` 0 = at once; `sent_at` 0 = readers know of it, or unknown.
    counts : (rows,) float32
        Engagements as of `last`, decayed with the half-life of `popularity`.
    known, deleted : (rows,) bool
    changed
        Rows whose tokens, features or expiry are not those that readers know.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        manifest, items = snapshot.manifest, snapshot.items
        self.epoch = manifest.epoch
        self.feed_id, self.state_id = manifest.feed_id, manifest.state_id
        self.watermark = manifest.watermark
        self.departed_to = manifest.watermark if manifest.departed_to < 0 else manifest.departed_to
        self.quiet_ends = QuietEnds(self.departed_to)
        self._confirmed, self.mass_expiry_share = manifest.expiry_confirmed, manifest.mass_expiry_share
        self.idle_ms = manifest.expire_after_idle_ms
        self.ids = list(snapshot.item_ids)
        self.features: list[dict[str, Feature]] = list(snapshot.features) or [{} for _ in self.ids]
        count = len(self.ids)
        self.tokens: NDArray[np.int32] = items["tokens"][:count].copy()
        self.first: Rows = items["first"][:count].copy()
        self.last: Rows = items["last"][:count].copy()
        self.expires_at: Rows = items["expires_at"][:count].copy()
        self.available_from: Rows = items.get("available_from", np.zeros(count, np.int64))[:count].copy()
        self.counts: NDArray[np.float32] = items["values"][:count, _POPULARITY].copy()
        self.deleted: Mask = items["deleted"][:count].astype(np.bool_)
        self.known: Mask = np.ones(count, np.bool_)
        self.sent_at: Rows = np.zeros(count, np.int64)
        self.changed: set[int] = set()
        self._alive = AliveRows(self._life_times)

    def __len__(self) -> int:
        return len(self.ids)

    def apply_feed(self, feed: Feed) -> None:
        """Apply new, changed and deleted items."""
        items = feed.items if feed.epoch == self.epoch else []
        rows = np.array([item.row for item in items], np.int64)
        self._reserve(int(rows.max(initial=-1)) + 1)
        self._alive.note_written(rows)
        for item, tokens in zip(items, pad_tokens([item.tokens for item in items], self.tokens.shape[1]), strict=True):
            self._apply_item(item, tokens)
        # Nobody waits for an item that has expired.
        self.sent_at[rows] = np.where(self.alive_mask()[rows], [item.sent_at for item in items], 0)

    def apply_state_delta(self, delta: StateDelta) -> None:
        """Apply the times of last engagements and the watermark."""
        if delta.epoch != self.epoch:
            return
        rows = delta.item_rows
        self._reserve(int(rows.max(initial=-1)) + 1)
        self.last[rows], self.first[rows] = delta.item_last, delta.item_first
        self.counts[rows] = delta.item_values[:, _POPULARITY]
        self._alive.note_written(rows)
        self.watermark = max(self.watermark, delta.watermark)
        self._follow_departures(delta.departed_to, delta.expiry_confirmed)

    def _follow_departures(self, departed_to: int, confirmed: int) -> None:
        """Take over what a state delta says of departures; ends that a quiet stream has passed stay passed."""
        departed_to = self.watermark if departed_to < 0 else departed_to
        if departed_to != self.departed_to:
            self.departed_to = departed_to
            self.quiet_ends.follow(departed_to)
        self._confirmed = confirmed

    def continue_quiet_ends(self, before: ItemCatalogue) -> None:
        """Obey the ends that the catalogue before obeys, if no event has come since."""
        if before.departed_to == self.departed_to:
            self.quiet_ends = before.quiet_ends

    def obey_ends(self, quiet_ms: int) -> bool:
        """Obey ends and beginnings though no event has come for so long; return whether anything changes.

        While a mass expiry is held by the trainer, nothing goes on here either.
        """
        if self.departed_to != self.watermark:
            return False
        before, to = self.quiet_ends.now, self.watermark + quiet_ms
        alive = self.alive_mask()
        rows = slice(0, len(self))
        leave = self.quiet_ends.advance(
            to, self.expires_at[rows], alive, share=self.mass_expiry_share, confirmed=self._confirmed
        )
        begins = self.available_from[rows]
        return leave or bool(np.any((begins > before) & (begins <= self.quiet_ends.now)))

    def passed_in_quiet(self, quiet_ms: int) -> Rows:
        """List rows whose beginning or end lies in the time for which no event has come."""
        until = self.watermark + quiet_ms
        times = self.expires_at[: len(self)], self.available_from[: len(self)]
        return np.flatnonzero(sum((at > self.departed_to) & (at <= until) for at in times))

    def alive_mask(self) -> Mask:
        """Tell which rows are items that may be in the index now, (rows,) bool, read-only until the next change."""
        begun = max(self.watermark, self.quiet_ends.now)
        self._alive.advance((self.departed_to, self.quiet_ends.now, begun), len(self))
        return self._alive.mask[: len(self)]

    def drain_changed_lives(self) -> Rows:
        """Return rows whose life may have begun or ended since the last call, at first of all living ones."""
        self.alive_mask()
        return self._alive.drain()

    def popularity(self, rows: Rows) -> NDArray[np.float32]:
        """Return the engagements of `rows` (n,) at the watermark, decayed with a half-life of a week, (n,)."""
        age = np.maximum(self.watermark - self.last[rows], 0)
        return (self.counts[rows] * np.exp2(-age / HALF_LIVES[_POPULARITY])).astype(np.float32)

    def leaving_and_arriving(self, rows: Rows, nodes: NDArray[np.int32]) -> tuple[Rows, Rows]:
        """List those of `rows` (n,) that leave and that enter: indexed, by their `nodes` (n,), xor alive."""
        alive, indexed = self.alive_mask()[rows], nodes >= 0
        return rows[indexed & self.known[rows] & ~alive], rows[~indexed & alive]

    def mark_announced(self, rows: Sequence[int]) -> None:
        """Note that readers know the current state of `rows`: they are not new or changed any more."""
        self.sent_at[list(rows)] = 0
        self.changed.difference_update(rows)

    def mark_indexed_announced(self, nodes: NDArray[np.int32]) -> None:
        """Note that readers know all indexed rows, by `nodes` (rows,), though maybe not that some changed."""
        self.sent_at[np.flatnonzero(nodes >= 0)] = 0

    def _apply_item(self, item: FeedItem, tokens: NDArray[np.int32]) -> None:
        row = item.row
        if self.known[row] and not self._is_same(item, tokens):
            self.changed.add(row)
        self.ids[row], self.known[row] = item.id, True
        self.tokens[row], self.features[row] = tokens, item.features
        self.deleted[row], self.expires_at[row] = item.deleted, item.expires_at or 0
        self.available_from[row] = item.available_from
        if self.first[row] == 0:
            self.first[row] = self.last[row] = item.ts
        elif item.ts > self.last[row] and not item.deleted:  # described again: a sign of life
            self.counts[row] *= np.exp2((self.last[row] - item.ts) / HALF_LIVES[_POPULARITY])
            self.last[row] = item.ts

    def _is_same(self, item: FeedItem, tokens: NDArray[np.int32]) -> bool:
        row = item.row
        content = np.array_equal(tokens, self.tokens[row]) and item.features == self.features[row]
        return content and (item.expires_at or 0) == self.expires_at[row]

    def _life_times(self, rows: Rows | slice) -> NDArray[np.int64]:
        """Return until when rows (n,) are alive by the time of departures and by quiet ends, and from when on, (3, n).

        Idleness counts by the time of departures alone.
        """
        ends = self.expires_at[rows]
        departs = expiry_times(self.last[rows], ends, self.deleted[rows], self.idle_ms)
        begins = np.where(self.known[rows], self.available_from[rows], NEVER)
        return np.stack([departs, np.where(ends > 0, ends, NEVER), begins])

    def _reserve(self, rows: int) -> None:
        missing = rows - len(self.ids)
        if missing <= 0:
            return
        self.ids.extend([""] * missing)
        self.features.extend({} for _ in range(missing))
        self.tokens = grown(self.tokens, rows, -1)
        self.first, self.last = grown(self.first, rows), grown(self.last, rows)
        self.counts = grown(self.counts, rows)
        self.expires_at, self.sent_at = grown(self.expires_at, rows), grown(self.sent_at, rows)
        self.available_from = grown(self.available_from, rows)
        self.deleted, self.known = grown(self.deleted, rows), grown(self.known, rows)
