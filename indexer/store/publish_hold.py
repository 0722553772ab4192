"""The hold on publishing: while it stands, no refresh moves readers to another version; deltas go on."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from hsnn.indexer.store.lease import default_owner
from hsnn.indexer.store.reader import IndexReader


class Hold(msgspec.Struct, frozen=True, kw_only=True):
    """Why, since when (epoch ms) and by whom publishing is held.

    Examples
    --------
    >>> Hold.decode(Hold(reason="version 7 is bad", at=5, by="host/1").encode()).reason
    'version 7 is bad'
    """

    reason: str
    at: int
    by: str

    def encode(self) -> bytes:
        """JSON, as it lies in Redis."""
        return msgspec.json.encode(self)

    @classmethod
    def decode(cls, blob: bytes) -> Hold:
        """Read what `encode` wrote."""
        return msgspec.json.decode(blob, type=cls)


def new_hold(reason: str) -> Hold:
    """Make a hold by this process, from now on."""
    return Hold(reason=reason, at=time.time_ns() // 1_000_000, by=default_owner())


def standing_hold(reader: IndexReader) -> Hold | None:
    """Read the hold there is."""
    blob: Any = reader.redis.get(reader.key("hold"))
    return None if blob is None else Hold.decode(blob)


def cut_off(reader: IndexReader) -> bool:
    """Tell whether the version in use is of another epoch than the trainer: nothing that happens reaches its readers.

    That passes by itself with the next version, but not while publishing is held.
    """
    current = reader.current()
    epoch: Any = reader.redis.get(reader.key("epoch"))
    return current is not None and epoch is not None and reader.manifest(current).epoch != int(epoch)


def place(reader: IndexReader, hold: Hold) -> None:
    """Hold from now on, or hold for another reason: the script that flips looks at the key, so no lease is needed."""
    reader.redis.set(reader.key("hold"), hold.encode())


def lift(reader: IndexReader) -> bool:
    """End the hold; return whether there was one."""
    return bool(reader.redis.delete(reader.key("hold")))
