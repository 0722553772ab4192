"""The audit trail: alarms, actions and their outcomes, in one Redis stream."""

from __future__ import annotations

import time
from typing import Any

import msgspec
import redis


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One entry of the trail.

    Attributes
    ----------
    at
        Wall time, epoch ms.
    event
        ``alarm``, ``action``, ``outcome``, or an operation by a person such as ``rollback``.
    kind, alarm
        Kind and id of the alarm that the entry belongs to, if any.
    action, outcome
        Action that was started, and how it ended.
    version
        Index version that resulted, if any.
    detail
        Further facts, JSON values.
    """

    at: int
    event: str
    kind: str = ""
    alarm: str = ""
    action: str = ""
    outcome: str = ""
    version: int | None = None
    detail: dict[str, Any] = {}


class AuditTrail:
    """Append to and read the stream `key`.

    Parameters
    ----------
    client
        Redis client that returns bytes.
    key
        Name of the stream, ``hsnn.streaming.redis.keys.key("audit")``.
    length
        Entries kept at least; Redis trims older ones in blocks.
    """

    def __init__(self, client: redis.Redis, key: str, length: int = 10_000) -> None:
        self._client = client
        self._key = key
        self._length = length

    def record(
        self,
        event: str,
        *,
        kind: str = "",
        alarm: str = "",
        action: str = "",
        outcome: str = "",
        version: int | None = None,
        **detail: Any,
    ) -> AuditEntry:
        """Append an entry with the current wall time; further keyword arguments become its `detail`.

        Raises
        ------
        redis.RedisError
            The server cannot be reached or refuses the write.
        """
        entry = AuditEntry(
            at=time.time_ns() // 1_000_000,
            event=event,
            kind=kind,
            alarm=alarm,
            action=action,
            outcome=outcome,
            version=version,
            detail=detail,
        )
        self._client.xadd(self._key, {"d": msgspec.json.encode(entry)}, maxlen=self._length, approximate=True)
        return entry

    def read(self, n: int = 100) -> list[AuditEntry]:
        """Return the last `n` entries, oldest first."""
        entries: Any = self._client.xrevrange(self._key, count=n)
        return [msgspec.json.decode(fields[b"d"], type=AuditEntry) for _, fields in reversed(entries)]
