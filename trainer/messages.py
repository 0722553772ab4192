"""Messages of the trainer to scheduler and server: state deltas, the item feed, snapshots.

All values are absolute and addressed by row, so that reading a message twice changes nothing.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, BinaryIO, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from hsnn.streaming.schema.events import Feature
from hsnn.trainer.rowstore.arrays import Array, pack, read_arrays, select_prefix, unpack

Piece = bytes | memoryview
"""Some bytes of an encoded part."""

COVISIT_HALF_LIVES = (3_600_000.0, 2_592_000_000.0)
"""Half-lives of co-visitation weights, ms: an hour (the same session) and 30 days (the same month)."""

NEIGHBOURS = 64
"""Neighbours N per item and half-life: enough for those that carry weight, at 512 bytes per list of a message."""

MEMORY_ENTRY_BYTES = 11
"""Bytes of a remembered item of a user: item, time, count and flags (`hsnn.trainer.features.user_memory`)."""

# Shape of the lists of no items: the default of a message without co-visitation.
_LISTS = (0, len(COVISIT_HALF_LIVES), NEIGHBOURS)


@dataclass(frozen=True, slots=True)
class StateDelta:
    """Item and user states that changed since the last delta; stream ``state``.

    Attributes
    ----------
    epoch : int
        Incarnation of the trainer; rows of different epochs must not be mixed.
    events : int
        Interactions learned so far.
    watermark : int
        Epoch ms.
    half_life : int
        Index of the half-life whose popularity currently predicts best.
    total, total_at : float, int
        Engagements of all items at this half-life, as of `total_at` (epoch ms).
    index_share : float
        Share of the items that the index yields per request (`hsnn.trainer.retrieval.index_recall`).
    departed_to, expiry_confirmed : int
        Time by which items have left, and up to where an operator lets them leave, epoch ms
        (`hsnn.trainer.features.mass_expiry`). -1 stands for the watermark.
    item_rows : (n,) int32
    item_values : (n, H) float32
        Decayed counters at `item_last`.
    item_last, item_first : (n,) int64
        Last and first engagement, epoch ms.
    user_rows : (m,) int32
    user_items : (m, L) int32
        History, newest last, -1 padded in front.
    user_times : (m, L) int64
    new_user_rows : (k,) int32
        Rows that were given to users since the last delta, and their ids, `new_users`.
    user_memory : (all, 11) uint8
        Remembered items of `user_rows`, one user's after the other's, `user_memory_lengths` (m,) int32 of each: what
        `hsnn.trainer.features.user_memory.UserMemory.select` returns.
    user_tokens : (m, C) int32
        Hashed user features, -1 padded.
    item_neighbours, item_weights, item_totals, item_paired
        Co-visitation of `item_rows`, the arrays of `hsnn.trainer.features.covisitation.Covisitation` in order; without
        rows, and not sent, where the model has no cross features.
    item_tables, user_tables : mapping of name to array
        Columns ``table.column`` of `item_rows` and `user_rows` in the tables of `hsnn.trainer.features.extra_tables`.
    """

    epoch: int
    events: int
    watermark: int
    half_life: int
    item_rows: NDArray[np.int32]
    item_values: NDArray[np.float32]
    item_last: NDArray[np.int64]
    item_first: NDArray[np.int64]
    user_rows: NDArray[np.int32]
    user_items: NDArray[np.int32]
    user_times: NDArray[np.int64]
    user_tokens: NDArray[np.int32]
    new_user_rows: NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))
    new_users: Sequence[str] = ()
    item_neighbours: NDArray[np.int32] = field(default_factory=lambda: np.zeros(_LISTS, np.int32))
    item_weights: NDArray[np.float32] = field(default_factory=lambda: np.zeros(_LISTS, np.float32))
    item_totals: NDArray[np.float32] = field(default_factory=lambda: np.zeros(_LISTS[:2], np.float32))
    item_paired: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    user_memory: NDArray[np.uint8] = field(default_factory=lambda: np.zeros((0, MEMORY_ENTRY_BYTES), np.uint8))
    user_memory_lengths: NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))
    item_tables: Mapping[str, Array] = field(default_factory=dict)
    user_tables: Mapping[str, Array] = field(default_factory=dict)
    total: float = 1.0
    total_at: int = 0
    index_share: float = 1.0
    departed_to: int = -1
    expiry_confirmed: int = 0

    _ARRAYS = (
        "item_rows",
        "item_values",
        "item_last",
        "item_first",
        "user_rows",
        "user_items",
        "user_times",
        "user_tokens",
        "new_user_rows",
    )
    _MEMORY = ("user_memory", "user_memory_lengths")
    _PAIRS = ("item_neighbours", "item_weights", "item_totals", "item_paired")

    @classmethod
    def from_columns(
        cls,
        *,
        epoch: int,
        events: int,
        watermark: int,
        half_life: int,
        total: float,
        total_at: int,
        index_share: float,
        departed_to: int,
        expiry_confirmed: int,
        item_rows: NDArray[np.int32],
        items: Mapping[str, Array],
        user_rows: NDArray[np.int32],
        users: Mapping[str, Array],
        new_user_rows: NDArray[np.int32],
        new_users: Sequence[str],
    ) -> StateDelta:
        """Make a delta of the served columns of items and users, named as in a `Snapshot`."""
        fields: dict[str, Any] = {f"item_{name}": array for name, array in items.items() if "." not in name}
        fields |= {f"user_{name}": array for name, array in users.items() if "." not in name}
        return cls(
            epoch=epoch,
            events=events,
            watermark=watermark,
            half_life=half_life,
            total=total,
            total_at=total_at,
            index_share=index_share,
            departed_to=departed_to,
            expiry_confirmed=expiry_confirmed,
            item_rows=item_rows,
            user_rows=user_rows,
            new_user_rows=new_user_rows,
            new_users=new_users,
            item_tables={name: array for name, array in items.items() if "." in name},
            user_tables={name: array for name, array in users.items() if "." in name},
            **fields,
        )

    def encode(self) -> bytes:
        """Encode as bytes for the stream."""
        clock = (self.epoch, self.events, self.watermark, self.half_life)
        popularity = (self.total, self.total_at, self.index_share)
        scalars = (*clock, *popularity, list(self.new_users), self.departed_to, self.expiry_confirmed)
        names = self._ARRAYS + (self._PAIRS if len(self.item_paired) else ())
        names += self._MEMORY if len(self.user_memory_lengths) else ()
        arrays = {name: getattr(self, name) for name in names}
        arrays |= {f"item_{name}": array for name, array in self.item_tables.items()}
        arrays |= {f"user_{name}": array for name, array in self.user_tables.items()}
        return msgspec.msgpack.encode((scalars, pack(arrays)))

    @classmethod
    def decode(cls, blob: bytes) -> StateDelta:
        """Decode what `encode` wrote."""
        scalars, packed = msgspec.msgpack.decode(blob)
        epoch, events, watermark, half_life, total, total_at, share, new_users, departed_to, confirmed = scalars
        arrays = unpack(packed)
        tables = {name: arrays.pop(name) for name in list(arrays) if "." in name}
        return cls(
            epoch,
            events,
            watermark,
            half_life,
            **arrays,
            total=total,
            total_at=total_at,
            index_share=share,
            new_users=new_users,
            departed_to=departed_to,
            expiry_confirmed=confirmed,
            item_tables=select_prefix(tables, "item_"),
            user_tables=select_prefix(tables, "user_"),
        )


class FeedItem(msgspec.Struct, frozen=True, array_like=True):
    """An item appeared, changed or was deleted; stream ``feed``.

    `tokens` are its hashed content features; `ts` is its event time, `sent_at` the wall time of the producer, epoch ms.
    `deleted`: it may not be recommended, whether it was deleted or was never announced.
    """

    id: str
    row: int
    tokens: list[int]
    features: dict[str, Feature]
    ts: int
    sent_at: int
    expires_at: int | None = None
    deleted: bool = False
    available_from: int = 0


class Feed(msgspec.Struct, frozen=True, array_like=True):
    """One entry of the feed stream."""

    epoch: int
    items: list[FeedItem]

    def encode(self) -> bytes:
        """Encode as bytes for the stream."""
        return msgspec.msgpack.encode(self)

    @classmethod
    def decode(cls, blob: bytes) -> Feed:
        """Decode what `encode` wrote."""
        return msgspec.msgpack.decode(blob, type=cls)


class ExclusionRule(msgspec.Struct, frozen=True):
    """Which of a user's past items are left out (`hsnn.trainer.features.exclusion.excluded_items`).

    Attributes
    ----------
    rule
        ``recent``: the last `items` distinct ones, and those of the last `time_ms`; ``seen``: all; ``nothing``: none.
        Those whose newest feedback was a dislike are left out under every rule.
    keep_ms : int or None
        Time after which the memory forgets an item; None: never.
    """

    rule: Literal["recent", "seen", "nothing"] = "recent"
    items: int = 10
    time_ms: int = 1_800_000
    keep_ms: int | None = None


class SnapshotManifest(msgspec.Struct, frozen=True, kw_only=True):
    """Description of a snapshot; readers continue in the two streams after `state_id` and `feed_id`.

    `generation` counts the rebalances of the nodes (`hsnn.trainer.training.commands`). Servers obey `exclusion`, the
    rule of the trainer. `departed_to` and `expiry_confirmed` are those of a `StateDelta`; `mass_expiry_share` is the
    share of the items that may leave at once.
    """

    snapshot: int
    epoch: int
    checkpoint: str
    events: int
    watermark: int
    state_id: str
    feed_id: str
    half_life: int
    model: dict[str, Any]
    config_digest: str
    total: float = 1.0
    total_at: int = 0
    index_share: float = 1.0
    expire_after_idle_ms: int | None = None
    departed_to: int = -1
    expiry_confirmed: int = 0
    mass_expiry_share: float = 1.0
    generation: int = 0
    exclusion: ExclusionRule = ExclusionRule()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Model and state at one position of the log, stored by `hsnn.trainer.snapshot_chunks`.

    Attributes
    ----------
    model
        Weights of the dense modules and the node vectors (`hsnn.trainer.model.monn.Monn.state_dict`).
    items
        ``embeddings`` (n, d+1) float32, ``tokens`` (n, T) int32, ``values`` (n, H) float32, ``last``, ``first``,
        ``expires_at`` and ``available_from`` (n,) int64 (0: never, at once), ``deleted`` (n,) bool; row = the trainer's
        item row. With cross features
        also ``neighbours`` (n, 2, N) int32, ``weights`` (n, 2, N) and ``totals`` (n, 2) float32, ``paired`` (n,) int64:
        see `hsnn.trainer.features.covisitation.Covisitation`. Columns of other tables
        (`hsnn.trainer.features.extra_tables`) are called ``table.column``.
    users
        ``items`` (m, L) int32, ``times`` (m, L) int64, ``tokens`` (m, C) int32, ``memory`` (all, 11) uint8 and
        ``memory_lengths`` (m,) int32 as in a `StateDelta`, and those of other tables.
    item_ids, user_ids
        Ids by row, empty for rows without one.
    features
        Raw item features by row, for filters and display.
    """

    manifest: SnapshotManifest
    model: dict[str, Array]
    items: dict[str, Array]
    users: dict[str, Array]
    item_ids: Sequence[str]
    user_ids: Sequence[str]
    features: list[dict[str, Feature]] = field(default_factory=list)

    def parts(self) -> dict[str, list[Piece]]:
        """Encode model, items, users and ids, each in pieces."""
        return {
            "model": [pack(self.model)],
            "items": [pack(self.items)],
            "users": [pack(self.users)],
            "ids": [msgspec.msgpack.encode((list(self.item_ids), list(self.user_ids), self.features))],
        }

    def with_checkpoint(self, name: str) -> Snapshot:
        """Return the same snapshot with the name of its durable checkpoint."""
        return replace(self, manifest=msgspec.structs.replace(self.manifest, checkpoint=name))

    @classmethod
    def decode(cls, fields: Mapping[bytes, bytes]) -> Snapshot:
        """Decode the hash of layout 2: a field for the manifest and each part, long ones split; others are ignored."""
        parts = {name: io.BytesIO(_joined(fields, name.encode())) for name in ("model", "items", "users", "ids")}
        return cls.from_parts(fields[b"manifest"], parts)

    @classmethod
    def from_parts(cls, manifest: bytes, parts: Mapping[str, BinaryIO]) -> Snapshot:
        """Decode a manifest and parts, which are read once, one after the other."""
        model, items, users = (read_arrays(parts[name]) for name in ("model", "items", "users"))
        item_ids, user_ids, features = msgspec.msgpack.decode(parts["ids"].read())
        return cls(
            manifest=msgspec.json.decode(manifest, type=SnapshotManifest),
            model=model,
            items=items,
            users=users,
            item_ids=item_ids,
            user_ids=user_ids,
            features=features,
        )


def _joined(fields: Mapping[bytes, bytes], name: bytes) -> bytes:
    """Join the pieces of a field, ``name``, ``name:1``, ``name:2``, ...; a value that was not split is returned."""
    pieces = [fields[name]]
    while (piece := fields.get(b"%s:%d" % (name, len(pieces)))) is not None:
        pieces.append(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
