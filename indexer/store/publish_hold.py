"""The hold on publishing: while it stands, no refresh moves readers to another version; deltas go on."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from hsnn.indexer.store.lease import default_owner
from hsnn.indexer.store.reader import IndexReader


class PublishHold(msgspec.Struct, frozen=True, kw_only=True):
    """Why, since when (epoch ms) and by whom publishing is held.

    Examples
    --------
    >>> PublishHold.decode(PublishHold(reason="version 7 is bad", at=5, by="host/1").encode()).reason
    'version 7 is bad'
    """

    reason: str
    at: int
    by: str

    def encode(self) -> bytes:
        """Encode as JSON, as it is stored in Redis."""
        return msgspec.json.encode(self)

    @classmethod
    def decode(cls, blob: bytes) -> PublishHold:
        """Read what `encode` wrote."""
        return msgspec.json.decode(blob, type=cls)


def new_hold(reason: str) -> PublishHold:
    """Make a hold by this process, from now on."""
    return PublishHold(reason=reason, at=time.time_ns() // 1_000_000, by=default_owner())


def current_hold(reader: IndexReader) -> PublishHold | None:
    """Read the standing hold; None if publishing is not held."""
    blob: Any = reader.redis.get(reader.key("hold"))
    return None if blob is None else PublishHold.decode(blob)


def epoch_differs(reader: IndexReader) -> bool:
    """Tell whether the version in use is of another epoch than the trainer: nothing that happens reaches its readers.

    The next version ends that, so it lasts while publishing is held.
    """
    current = reader.current()
    epoch: Any = reader.redis.get(reader.key("epoch"))
    return current is not None and epoch is not None and reader.manifest(current).epoch != int(epoch)


def place_hold(reader: IndexReader, hold: PublishHold) -> None:
    """Place or replace the hold; the script that flips reads the key, so no lease is needed."""
    reader.redis.set(reader.key("hold"), hold.encode())


def lift_hold(reader: IndexReader) -> bool:
    """End the hold; return whether there was one."""
    return bool(reader.redis.delete(reader.key("hold")))
