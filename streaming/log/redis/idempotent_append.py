"""Idempotent appends to Redis Streams: after a lost answer, an append can be repeated without duplicates."""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable, Sequence
from typing import Any

# Begins the keys that mark an append as carried out.
_MARK = "hsnn:log:appended:"

# Seconds that the mark of an append is kept beyond the time limit of its retries: an hour covers redis-py's own retries
# and a process that was suspended in the middle of them.
_MARK_SECONDS = 3600

# KEYS: the mark of this append, then the streams. ARGV: seconds to keep the mark, retention or "", then per entry the
# index of its stream, the number of its fields and values, and these.
_APPEND = """
if not redis.call('SET', KEYS[1], '', 'NX', 'EX', ARGV[1]) then return 0 end
local at = 3
while at <= #ARGV do
    local key, last = KEYS[ARGV[at] + 2], at + 1 + ARGV[at + 1]
    if ARGV[2] == '' then
        redis.call('XADD', key, '0-*', unpack(ARGV, at + 2, last))
    else
        redis.call('XADD', key, 'MAXLEN', '~', ARGV[2], '0-*', unpack(ARGV, at + 2, last))
    end
    at = last + 1
end
return 1
"""


class IdempotentAppender:
    """Appends chunks of entries, each chunk atomically and exactly once, however often it is attempted.

    Parameters
    ----------
    client
        A client of redis-py; its own retries are covered as well.
    retention
        Keep about so many newest entries per stream; None keeps all.
    retry_seconds
        For how many seconds an append may be repeated.
    """

    def __init__(self, client: Any, retention: int | None, retry_seconds: float) -> None:
        self._append = client.register_script(_APPEND)
        self._mark_seconds = _MARK_SECONDS + math.ceil(retry_seconds)
        self._retention = "" if retention is None else str(retention)

    def prepare(self, streams: Sequence[str], entries: Sequence[tuple[int, Sequence[Any]]]) -> Callable[[], object]:
        """Return a function that appends `entries` (index into `streams`, fields) at its first successful call only."""
        mark = _MARK + uuid.uuid4().hex
        arguments: list[Any] = [self._mark_seconds, self._retention]
        for stream, fields in entries:
            arguments += (stream, len(fields), *fields)
        return lambda: self._append(keys=[mark, *streams], args=arguments)
