"""Delta: one change of a version's index, as it is stored in the version's delta stream."""

from __future__ import annotations

from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from hsnn.streaming.schema.events import Feature

DeltaOp = Literal["insert", "move", "delete", "superseded"]
"""``insert`` and ``move`` put an item into a node, ``delete`` removes it; ``superseded``: readers were flipped."""

DeltaReason = Literal["", "new", "returned", "changed", "nearer", "expired", "deleted"]
"""Why: a new item, an expired item with a new engagement, changed features, a nearer node, expired, deleted."""


class Delta(msgspec.Struct, frozen=True, array_like=True):
    """An item that enters, moves or leaves; absolute, so that applying it twice changes nothing.

    Attributes
    ----------
    op
        What to do. After ``superseded`` a reader reads the pointer again: the version that the delta names may be
        superseded itself, and after a rollback the stream of the older version goes on behind such an entry.
    epoch
        Incarnation of the trainer whose rows are meant.
    row, item
        The item, by the trainer's row and by id.
    node
        The item's node; -1 for ``delete``.
    packed
        Static item vector, raw little-endian float32 of d+1 numbers; empty for ``delete``. See `vector`.
    features
        Raw features, for filters and display.
    first, last, expires_at
        Event times of the first and last sign of activity and of expiry, ms; `expires_at` 0 = never. Readers that have
        no state of the item yet use these.
    sent_at
        Wall time in ms at which the producer sent what caused this; 0 if readers know of it already.
    reason
        See `DeltaReason`.
    version
        Of ``superseded``: the version flipped to.

    Examples
    --------
    >>> delta = Delta("insert", 1, 7, "a", 3, pack_vector(np.array([1.0, 0.5])), {"genre": "drama"}, reason="new")
    >>> Delta.decode(delta.encode()).vector.tolist()
    [1.0, 0.5]
    """

    op: DeltaOp
    epoch: int = 0
    row: int = -1
    item: str = ""
    node: int = -1
    packed: bytes = b""
    features: dict[str, Feature] = {}
    first: int = 0
    last: int = 0
    expires_at: int = 0
    sent_at: int = 0
    reason: DeltaReason = ""
    version: int = 0

    @property
    def vector(self) -> NDArray[np.float32] | None:
        """The static item vector (d+1,) float32, last number = item bias; None for ``delete`` and ``superseded``."""
        return np.frombuffer(self.packed, "<f4").astype(np.float32, copy=False) if self.packed else None

    def encode(self) -> bytes:
        """Encode as MessagePack, for the stream."""
        return msgspec.msgpack.encode(self)

    @classmethod
    def decode(cls, blob: bytes) -> Delta:
        """Read what `encode` wrote.

        Raises
        ------
        msgspec.MsgspecError
            The bytes are not a delta.
        """
        return _decoder.decode(blob)


_decoder = msgspec.msgpack.Decoder(Delta)


def pack_vector(vector: NDArray[np.floating]) -> bytes:
    """Encode a vector (d+1,) as a delta carries it."""
    return vector.astype("<f4", copy=False).tobytes()
