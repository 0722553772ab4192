"""Append to Redis Streams so that a repeated attempt changes nothing: of a lost answer nobody knows what it said."""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable, Sequence
from typing import Any

_MARK = "hsnn:log:appended:"
_MARK_SECONDS = 3600  # beyond the time in which it is tried
# KEYS: a mark of this append, then the streams. ARGV: seconds the mark is kept, retention or "", then per entry the
# place of its stream, the number of its fields and values, and these.
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
    """Appends chunks of entries, each as a whole and once, however often it is tried.

    Parameters
    ----------
    client
        Of redis-py; its own retries are covered as well.
    retention
        Keep about so many newest entries per stream; None keeps all.
    patience
        For how many seconds an append may be tried again.
    """

    def __init__(self, client: Any, retention: int | None, patience: float) -> None:
        self._append = client.register_script(_APPEND)
        self._kept = _MARK_SECONDS + math.ceil(patience)
        self._retention = "" if retention is None else str(retention)

    def prepare(self, streams: Sequence[str], entries: Sequence[tuple[int, Sequence[Any]]]) -> Callable[[], object]:
        """Return what appends `entries` (place in `streams`, fields) when it is called, but not a second time."""
        mark = _MARK + uuid.uuid4().hex
        arguments: list[Any] = [self._kept, self._retention]
        for place, fields in entries:
            arguments += (place, len(fields), *fields)
        return lambda: self._append(keys=[mark, *streams], args=arguments)
