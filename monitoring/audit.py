"""The audit trail: alarms, what was done about them, and what came of it, in one Redis stream."""

from __future__ import annotations

import time
from typing import Any

import msgspec
import redis


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of the trail.

    Attributes
    ----------
    at
        Wall time, epoch ms.
    event
        What happened: ``alarm``, ``action``, ``outcome``, or a person's deed such as ``rollback``.
    kind, alarm
        Kind and id of the alarm it belongs to, if any.
    action, outcome
        What was started, and how it ended.
    version
        Index version that it led to, if any.
    detail
        Anything else worth knowing, JSON values.
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
    """Writes and reads the stream `key`.

    Parameters
    ----------
    client
        A Redis client; values as bytes.
    key
        Name of the stream, ``hsnn.streaming.redis.keys.key("audit")``.
    length
        Entries kept at least; older ones are trimmed now and then.
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
        """Append an entry, stamped with the wall time; keyword arguments beyond the known ones become its detail.

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
        found: Any = self._client.xrevrange(self._key, count=n)
        return [msgspec.json.decode(fields[b"d"], type=AuditEntry) for _, fields in reversed(found)]
